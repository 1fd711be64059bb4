#pragma once
#include <cstdint>

#include "instruction_set.h"
#include "layout.h"

namespace fkinv::kernels {

/// A drawn token and how probable it was: under the model, log p (τ = 1, all tokens), and under what it was drawn from,
/// log τ.
struct Drawn {
  int32_t token;
  double logModel, logProposal;  // nats
};

/// K3: one token of row `r` from softmax(z/τ) over the tokens at or above the row's threshold, by inverse CDF on two
/// levels, exact in the tail: `u` picks the tile from the float64 running sum of their weights, `uInside` the token
/// from the tile's own float64 sum (algorithm.md, Randomness). Both are in [0, 1). τ = 0 is the argmax, lowest id on
/// ties, with log τ = 0. The row must have no fault.
Drawn drawRow(const InstructionSet& vectors, const Logits& z, double temperature, const TileTable& tiles,
              const RowStats& rows, int64_t r, double u, double uInside);

/// Where the position `at` [particles, length] has its token, and what of its logarithms is asked for.
void writeDraw(const Draws& draws, int64_t at, const Drawn& drawn);

}  // namespace fkinv::kernels
