#include "pass.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "cpu.h"
#include "device/parallel.h"

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

void run(const ops::Pass& op, const Cpu& cpu) {
  const Logits& z = op.z;
  cpu.pool.run(static_cast<int64_t>(z.states) * z.chunks(), [&](int64_t piece) {
    thread_local std::unique_ptr<Workspace> space;
    if (!space || space->positions != z.positions) space = std::make_unique<Workspace>(z.positions);
    cpu.vectors.passChunk(z, op.temperature, op.tiles, static_cast<int>(piece / z.chunks()),
                          static_cast<int>(piece % z.chunks()), *space);
  });
}

}  // namespace fkinv::kernels
