#pragma once
#include <cstddef>
#include <cstdint>

#include "pass_result.h"

namespace fkinv::kernels {

/// Columns whose exponentials are held at once: half a tile, so that those of 77 positions (158 KB) and the logits they
/// are of stay in a second-level cache.
inline constexpr int kBlock = 512;

/// What one thread of the pass works in: 4·(528·⌈N⌉ + N·⌈N⌉) + 40·N bytes, where ⌈N⌉ is N up to a multiple of 4; 197 KB
/// at N = 77.
class Workspace {
 public:
  /// One row's sums over a tile, by the exponent that the row has in its chunk so far.
  struct Row {
    double exponent, mass, moment, weight;
    float max, scale;  // scale: what its part of the Gram is multiplied by as the exponent moves
  };
  /// Floats from one row of exps to the next: a line more than a row, so that rows do not all begin in the same set of
  /// the cache.
  static constexpr int64_t kRowStride = kBlock + 16;

  explicit Workspace(int positions);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  const int positions, padded;  // padded: up to a multiple of 4
  float* exps;                  // [padded, kRowStride], rows ≥ positions zero
  float* gram;                  // [positions, padded]: of j and i ≤ j
  Row* rows;                    // [positions]
};

/// K1, the one read of the logits: tiles [kChunk·chunk, kChunk·(chunk + 1)) of every row of state `state` → `out`.
/// Chunks are independent, and what a chunk gives depends on nothing but its own logits and τ.
///
/// In the log2 domain (kernels.md): x = z·log2e − m, where the integer m is at first the row's ⌈max·log2e⌉ in the
/// chunk's first block and follows it, lazily, when it has grown by more than 3: the sums so far are then multiplied by
/// a power of two, exactly. NaN or +inf logits make the mass NaN; −inf (suppressed) adds exactly 0 to everything. Reads
/// each logit once from memory; N(N + 1)/2 multiply-adds and N exponentials a column.
using PassChunk = void (*)(const Logits& z, double temperature, const TileTable& out, int state, int chunk,
                           const Workspace& space);

}  // namespace fkinv::kernels
