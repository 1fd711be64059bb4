#include "average.h"

#include <cmath>
#include <vector>

namespace fkinv::kernels {
namespace {

double norm(const double* v, int size) {
  double squares = 0;
  for (int i = 0; i < size; ++i) squares += v[i] * v[i];
  return std::sqrt(squares);
}

}  // namespace

void average(std::span<const float* const> embeddings, int size, float* mean) {
  std::vector<double> sum(static_cast<size_t>(size), 0.0), one(sum.size());
  for (const float* embedding : embeddings) {
    for (size_t i = 0; i < one.size(); ++i) one[i] = static_cast<double>(embedding[i]);
    const double length = norm(one.data(), size);
    for (size_t i = 0; i < one.size(); ++i) sum[i] += one[i] / length;
  }
  const double length = norm(sum.data(), size);
  for (size_t i = 0; i < sum.size(); ++i) mean[i] = static_cast<float>(length == 0 ? 0 : sum[i] / length);
}

}  // namespace fkinv::kernels
