// Which positions open at a step (algorithm.md, "Which positions open").
#pragma once
#include <cstdint>
#include <span>

#include "host_device.h"
#include "pass_result.h"

namespace fkinv::kernels {

/// random (MDLM): each by chance. The others open equal counts: confidence (LLaDA) where the drawn token is most
/// probable under the untempered softmax, entropy and margin (Dream) where the untempered row is most certain.
enum class Order { random, confidence, entropy, margin };
inline constexpr const char* kOrderNames[] = {"random", "confidence", "entropy", "margin"};

/// `random`, log-linear schedule: a masked position opens at step `step` of `steps` with probability 1 − s/t = 1/(steps
/// − step); everything left opens at the last step. `u` in [0, 1).
FKINV_HOST_DEVICE inline bool opens(int step, int steps, double u) { return u < 1.0 / (steps - step); }

/// The other orders: how many of `masked` positions open at step `step` of `steps`: ⌊M/T⌋, and one more in the first M
/// mod T steps.
int openCount(int masked, int step, int steps);

/// opened[i] = 1 at the `count` wanted positions of highest score, ties to the lower position; 0 elsewhere.
void choose(std::span<const double> scores, std::span<const uint8_t> wanted, int count, std::span<uint8_t> opened);

/// Largest minus second largest probability of row `r` under the untempered softmax; a tied maximum counts twice. The
/// second is the larger of the second in the winning tile, which is read again, and the best other tile's maximum.
double margin(const Logits& z, const TileTable& tiles, const RowStats& rows, int64_t r);

}  // namespace fkinv::kernels
