// The kernels that are written in vectors, once for each instruction set.
#pragma once
#include <span>
#include <string_view>

#include "pass.h"

namespace fkinv::kernels {

/// What each token of a tile weighs in a draw. Of a tile that is narrower than kTile, what is past its last group is
/// not written, and the last group is 0 past its last column.
struct TileWeights {
  static constexpr int kGroup = 32;  // tokens
  float ofToken[kTile];
  double ofGroup[kTile / kGroup];  // sums
  double total;
};

/// What instruction_set.cpp is compiled into for each set. Their results agree to rounding, and draws exactly but where
/// a uniform lies at a boundary of the CDF.
struct InstructionSet {
  /// "baseline" (what the whole addon is compiled for: SSE2, NEON, …), "avx2" (with FMA and F16C) or "avx512"
  /// (AVX-512F).
  const char* name;

  PassChunk passChunk;

  /// The weights 2^((z·log2e − exponent)/τ) of the columns of tile `tile` of row `r` with z ≥ threshold, 0 of the
  /// others. τ > 0, and the exponent is finite and at most 3 less than the tile's maximum in log2.
  void (*weighTile)(const Logits& z, int64_t r, int tile, double exponent, double temperature, float threshold,
                    TileWeights& out);

  /// y[i] = 2^x[i] as the kernels form it (vectorised/exp2.h), of n floats.
  void (*exp2)(const float* x, float* y, int n);

  /// Multiplies and adds in registers alone, `flops` operations of float32 in all, each of the two counted as one: how
  /// fast the set is at most. Returns a number that depends on all of them.
  float (*multiplyAdds)(int64_t flops);
};

/// The sets that this processor has, the best one last; "baseline" is always the first.
std::span<const InstructionSet* const> instructionSets();

/// The best one.
const InstructionSet& bestInstructionSet();

/// The one of that name; null where this processor, or this build, has none.
const InstructionSet* findInstructionSet(std::string_view name);

}  // namespace fkinv::kernels
