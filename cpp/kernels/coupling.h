#pragma once
#include <cstdint>
#include <span>

namespace fkinv::kernels {

/// Off-diagonal mean μ and population variance σ² of one S over the pairs of counted positions, and r_edit = 1 − (μ +
/// σ).
struct Coupling {
  double mean, variance, reward;
};

/// K2b. `gram` [positions, positions], `counted` [positions]. Variance in two passes, never E[x²] − E[x]². Fewer than
/// two counted positions: μ = σ = 0.
Coupling coupling(const float* gram, const uint8_t* counted, int positions);

/// Marks the positions of `tokens` before the first stop token: what follows it would all predict the same and read as
/// coupling. With `all` every position counts, as the formula stands.
void count(std::span<const int32_t> tokens, std::span<const int32_t> stops, bool all, uint8_t* counted);

}  // namespace fkinv::kernels
