#include "potential.h"

namespace fkinv::kernels {

double logPotential(double lambdaClip, double lambdaEdit, Rewards now, Rewards previous) {
  return lambdaClip * (now.clip - previous.clip) + lambdaEdit * (now.edit - previous.edit);
}

}  // namespace fkinv::kernels
