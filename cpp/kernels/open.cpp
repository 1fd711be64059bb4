#include "open.h"

namespace fkinv::kernels {

bool opens(int step, int steps, double u) { return u < 1.0 / (steps - step); }

}  // namespace fkinv::kernels
