#include "cpu_device.h"

#include <cmath>
#include <cstring>
#include <new>
#include <string>

#include "error.h"
#include "kernels/cosine.h"
#include "kernels/coupling.h"
#include "kernels/draw.h"
#include "kernels/merge.h"
#include "kernels/open.h"
#include "kernels/pass.h"
#include "kernels/potential.h"
#include "kernels/suppress.h"
#include "ort/library.h"

namespace fkinv {
namespace {

constexpr std::align_val_t kAlignment{64};  // a cache line, and the widest vector register

template <class T>
std::span<T> ofImage(const Layout& layout, T* values, int image) {
  return {values + static_cast<int64_t>(image) * layout.perImage, static_cast<std::size_t>(layout.perImage)};
}

}  // namespace

void CpuDevice::configure(OrtSessionOptions* options) const {
  ort::check(ort::api().SetIntraOpNumThreads(options, 1), "MODEL_INVALID", "setting the threads");
  ort::check(ort::api().SetInterOpNumThreads(options, 1), "MODEL_INVALID", "setting the threads");
}

void* CpuDevice::allocate(std::size_t bytes) {
  void* memory = ::operator new(bytes, kAlignment, std::nothrow);
  if (memory == nullptr) {
    throw Error("OUT_OF_MEMORY", "could not allocate " + std::to_string(bytes) +
                                     " bytes of memory: use fewer particles, or a shorter prompt");
  }
  return memory;
}
void CpuDevice::release(void* memory) noexcept { ::operator delete(memory, kAlignment); }
void CpuDevice::upload(void* to, const void* host, std::size_t bytes) { copy(to, host, bytes); }
void CpuDevice::download(void* host, const void* from, std::size_t bytes) { copy(host, from, bytes); }
void CpuDevice::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void CpuDevice::suppress(const Logits& z, std::span<const int32_t> suppressed, std::span<const int32_t> stops,
                         int minLength) {
  kernels::suppress(z, suppressed, stops, minLength);
}

void CpuDevice::pass(const Logits& z, double temperature, const TileTable& tiles) {
  pool_.run(static_cast<int64_t>(z.states) * z.tiles(), [&](int64_t piece) {
    thread_local std::vector<float> scratch;
    scratch.resize(static_cast<std::size_t>(z.positions) * kernels::kBlock);
    kernels::passTile(z, temperature, tiles, static_cast<int>(piece / z.tiles()), static_cast<int>(piece % z.tiles()),
                      scratch.data());
  });
}

void CpuDevice::merge(const Logits& z, double temperature, const TileTable& tiles, const RowStats& rows) {
  pool_.run(z.states,
            [&](int64_t state) { kernels::mergeState(z, temperature, tiles, rows, static_cast<int>(state)); });
}

void CpuDevice::masked(const Layout& layout, int32_t maskId, const int32_t* tokens, uint8_t* wanted) {
  for (int64_t at = 0; at < static_cast<int64_t>(layout.particles()) * layout.length; ++at) {
    wanted[at] = tokens[at] == maskId;
  }
}

void CpuDevice::open(const Layout& layout, const uint64_t* seeds, int step, int steps, uint8_t* wanted) {
  for (int p = 0; p < layout.particles(); ++p) {
    for (int n = 0; n < layout.length; ++n) {
      const double u = kernels::uniforms(seeds[p / layout.perImage], static_cast<uint32_t>(step),
                                         static_cast<uint32_t>(p % layout.perImage), static_cast<uint32_t>(n),
                                         kernels::Purpose::opening)
                           .u;
      wanted[static_cast<int64_t>(p) * layout.length + n] &= kernels::opens(step, steps, u);
    }
  }
}

void CpuDevice::draw(const Logits& z, double temperature, const TileTable& tiles, const RowStats& rows,
                     const Layout& layout, const Draws& draws) {
  pool_.run(layout.particles(), [&](int64_t p) {
    double logProb = 0, logWeight = 0;
    for (int n = 0; n < layout.length; ++n) {
      const int64_t at = p * layout.length + n;
      if (!draws.wanted[at]) continue;
      const auto [u, uInside] =
          kernels::uniforms(draws.seeds[p / layout.perImage], draws.step, static_cast<uint32_t>(p % layout.perImage),
                            static_cast<uint32_t>(n), draws.purpose);
      const int64_t row = static_cast<int64_t>(draws.stateOf[p]) * layout.length + n;
      const kernels::Drawn drawn = kernels::drawRow(z, temperature, tiles, rows, row, u, uInside);
      draws.tokens[at] = drawn.token;
      logProb += drawn.logModel;
      logWeight += drawn.logModel - drawn.logProposal;
    }
    if (draws.logProb != nullptr) draws.logProb[p] += logProb;
    if (draws.logWeights != nullptr) draws.logWeights[p] += logWeight;
  });
}

void CpuDevice::count(const Layout& layout, const int32_t* tokens, std::span<const int32_t> stops, bool all,
                      uint8_t* counted) {
  for (int64_t p = 0; p < layout.particles(); ++p) {
    kernels::count({tokens + p * layout.length, static_cast<std::size_t>(layout.length)}, stops, all,
                   counted + p * layout.length);
  }
}

void CpuDevice::coupling(const Layout& layout, const float* gram, const int32_t* stateOf, const uint8_t* counted,
                         double* rewardEdit) {
  const int64_t square = static_cast<int64_t>(layout.length) * layout.length;
  for (int64_t p = 0; p < layout.particles(); ++p) {
    rewardEdit[p] = kernels::coupling(gram + stateOf[p] * square, counted + p * layout.length, layout.length).reward;
  }
}

void CpuDevice::cosine(const Layout& layout, const float* texts, const int32_t* textOf, const float* images, int size,
                       double* rewardClip) {
  for (int64_t p = 0; p < layout.particles(); ++p) {
    rewardClip[p] =
        kernels::cosine(texts + static_cast<int64_t>(textOf[p]) * size, images + p / layout.perImage * size, size);
  }
}

void CpuDevice::weigh(const Layout& layout, double lambdaClip, double lambdaEdit, const double* clip,
                      const double* edit, const double* previousClip, const double* previousEdit, double* logWeights) {
  for (int p = 0; p < layout.particles(); ++p) {
    logWeights[p] +=
        kernels::logPotential(lambdaClip, lambdaEdit, {clip[p], edit[p]}, {previousClip[p], previousEdit[p]});
  }
}

void CpuDevice::effectiveSampleSize(const Layout& layout, const double* logWeights, double* ess) {
  for (int b = 0; b < layout.images; ++b) ess[b] = kernels::effectiveSampleSize(ofImage(layout, logWeights, b));
}

void CpuDevice::resample(const Layout& layout, kernels::Scheme scheme, const uint64_t* seeds, uint32_t step,
                         const double* logWeights, int32_t* ancestors) {
  std::vector<double> u(static_cast<std::size_t>(layout.perImage));
  for (int b = 0; b < layout.images; ++b) {
    for (std::size_t k = 0; k < u.size(); ++k) {
      u[k] = kernels::uniforms(seeds[b], step, static_cast<uint32_t>(k), 0, kernels::Purpose::resampling).u;
    }
    kernels::resample(ofImage(layout, logWeights, b), scheme, u, ofImage(layout, ancestors, b));
  }
}

void CpuDevice::gather(const Layout& layout, const int32_t* ancestors, const void* from, void* to,
                       std::size_t rowBytes) {
  for (int p = 0; p < layout.particles(); ++p) {
    const int firstOfImage = p / layout.perImage * layout.perImage;
    const auto ancestor = static_cast<std::size_t>(firstOfImage) + static_cast<std::size_t>(ancestors[p]);
    std::memcpy(static_cast<char*>(to) + static_cast<std::size_t>(p) * rowBytes,
                static_cast<const char*>(from) + ancestor * rowBytes, rowBytes);
  }
}

}  // namespace fkinv
