#pragma once
#include <cstdint>

namespace fkinv::kernels {

/// The `random` order (MDLM, log-linear schedule): a masked position opens at step `step` of `steps` with probability
/// 1 − s/t = 1/(steps − step); everything left opens at the last step. `u` in [0, 1).
bool opens(int step, int steps, double u);

}  // namespace fkinv::kernels
