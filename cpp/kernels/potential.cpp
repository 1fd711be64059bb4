#include "potential.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace fkinv::kernels {

double total(double lambdaClip, double lambdaEdit, std::span<const double> clip, std::span<const double> edit) {
  std::vector<double> totals(clip.size());
  for (size_t g = 0; g < totals.size(); ++g) totals[g] = lambdaClip * clip[g] + lambdaEdit * edit[g];
  if (totals.size() == 1) return totals[0];
  const double max = *std::max_element(totals.begin(), totals.end());
  double sum = 0;
  for (double t : totals) sum += std::exp(t - max);
  return max + std::log(sum / static_cast<double>(totals.size()));
}

}  // namespace fkinv::kernels
