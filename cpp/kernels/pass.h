#pragma once
#include <cstdint>

#include "logits.h"

namespace fkinv::kernels {

/// Columns whose exponentials are held at once: positions × kBlock floats stay in the second-level cache.
inline constexpr int kBlock = 256;

/// K1, the one read of the logits: tile `tile` of every row of state `state` → `out`. `scratch` holds positions ×
/// kBlock floats. Tiles are independent, and what a tile gives depends on nothing but its own logits and τ.
///
/// In the log2 domain (kernels.md): m = ⌈max·log2e⌉, x = z·log2e − m formed in float64, so that |z| = 8e4 loses
/// nothing. NaN or +inf logits make the mass NaN; −inf (suppressed) adds exactly 0 to everything. Reads positions × 4
/// KB (2 KB of 16-bit logits, widened in cache); N²/2 multiply-adds and N exponentials a column.
void passTile(const Logits& z, double temperature, const TileTable& out, int state, int tile, float* scratch);

}  // namespace fkinv::kernels
