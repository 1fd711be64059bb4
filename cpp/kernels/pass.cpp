#include "pass.h"

#include <algorithm>
#include <cstddef>
#include <new>

namespace fkinv::kernels {
namespace {
constexpr std::align_val_t kAlignment{64};  // a cache line, and the widest vector register
}

Workspace::Workspace(int n) : positions(n), padded((n + 3) / 4 * 4) {
  const auto height = static_cast<std::size_t>(padded), width = static_cast<std::size_t>(n);
  const std::size_t ofExps = height * kRowStride, ofGram = width * height;
  exps = static_cast<float*>(::operator new((ofExps + ofGram) * sizeof(float) + width * sizeof(Row), kAlignment));
  gram = exps + ofExps;
  rows = reinterpret_cast<Row*>(gram + ofGram);  // behind a multiple of four floats
  std::fill_n(exps, ofExps, 0.0f);
}

Workspace::~Workspace() { ::operator delete(exps, kAlignment); }

}  // namespace fkinv::kernels
