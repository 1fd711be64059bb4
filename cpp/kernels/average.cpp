#include "average.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu.h"

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

void run(const ops::Average& op, const Cpu&) {
  if (op.count == 1) {
    std::copy_n(op.embeddings[0], op.size, op.mean);
  } else {
    average({op.embeddings, static_cast<size_t>(op.count)}, op.size, op.mean);
  }
}

}  // namespace fkinv::kernels
