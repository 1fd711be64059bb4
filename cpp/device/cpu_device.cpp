#include "cpu_device.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <string>

#include "error.h"
#include "kernels/average.h"
#include "kernels/cosine.h"
#include "kernels/coupling.h"
#include "kernels/draw.h"
#include "kernels/merge.h"
#include "kernels/potential.h"
#include "kernels/redraw.h"
#include "kernels/suppress.h"
#include "ort/library.h"

namespace fkinv {
namespace {

constexpr std::align_val_t kAlignment{64};  // a cache line, and the widest vector register

template <class T>
std::span<T> ofImage(const Layout& layout, T* values, int image) {
  return {values + static_cast<int64_t>(image) * layout.perImage, static_cast<std::size_t>(layout.perImage)};
}

void write(const Draws& draws, int64_t at, const kernels::Drawn& drawn) {
  draws.tokens[at] = drawn.token;
  if (draws.logModel != nullptr) draws.logModel[at] = drawn.logModel;
  if (draws.logProposal != nullptr) draws.logProposal[at] = drawn.logProposal;
}

}  // namespace

void CpuDevice::configure(OrtSessionOptions* options, bool) const {
  ort::check(ort::api().SetIntraOpNumThreads(options, 1), "MODEL_INVALID", "setting the threads");
  ort::check(ort::api().SetInterOpNumThreads(options, 1), "MODEL_INVALID", "setting the threads");
}

void* CpuDevice::allocate(std::size_t bytes) {
  void* memory = ::operator new(bytes, kAlignment, std::nothrow);
  if (memory == nullptr) {
    throw Error("OUT_OF_MEMORY", "could not allocate " + std::to_string(bytes) +
                                     " bytes of memory: use fewer particles, a smaller maxBatch or a shorter prompt");
  }
  return memory;
}
void CpuDevice::release(void* memory) noexcept { ::operator delete(memory, kAlignment); }
void CpuDevice::upload(void* to, const void* host, std::size_t bytes) { copy(to, host, bytes); }
void CpuDevice::download(void* host, const void* from, std::size_t bytes) { copy(host, from, bytes); }
void CpuDevice::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void CpuDevice::suppress(const Logits& z, std::span<const int32_t> ids, std::span<const uint8_t> at) {
  kernels::suppress(z, ids, at);
}

void CpuDevice::pass(const Logits& z, double temperature, const TileTable& tiles) {
  pool_.run(static_cast<int64_t>(z.states) * z.chunks(), [&](int64_t piece) {
    thread_local std::unique_ptr<kernels::Workspace> space;
    if (!space || space->positions != z.positions) space = std::make_unique<kernels::Workspace>(z.positions);
    vectors_.passChunk(z, temperature, tiles, static_cast<int>(piece / z.chunks()),
                       static_cast<int>(piece % z.chunks()), *space);
  });
}

void CpuDevice::merge(const Logits& z, double temperature, const TileTable& tiles, const RowStats& rows) {
  pool_.run(z.states,
            [&](int64_t state) { kernels::mergeState(z, temperature, tiles, rows, static_cast<int>(state)); });
}

void CpuDevice::truncate(const Logits& z, double temperature, kernels::Truncation truncation, const TileTable& tiles,
                         const RowStats& rows) {
  pool_.run(z.rows(), [&](int64_t r) {
    if (rows.fault[r] == kernels::RowFault::none)
      kernels::truncateRow(vectors_, z, temperature, truncation, tiles, rows, r);
  });
}

void CpuDevice::masked(const Layout& layout, const uint8_t* live, int32_t maskId, const int32_t* tokens, int first,
                       int last, uint8_t* wanted) {
  for (int64_t p = 0; p < layout.particles(); ++p) {
    for (int n = 0; n < layout.length; ++n) {
      const int64_t at = p * layout.length + n;
      wanted[at] = live[p / layout.perImage] && n >= first && n < last && tokens[at] == maskId;
    }
  }
}

void CpuDevice::exclude(const Layout& layout, const int32_t* stateOf, const kernels::RowFault* faults, uint8_t* wanted,
                        int32_t* tokens) {
  for (int p = 0; p < layout.particles(); ++p) {
    const kernels::RowFault* const ofState = faults + static_cast<int64_t>(stateOf[p]) * layout.length;
    for (int n = 0; n < layout.length; ++n) {
      if (ofState[n] == kernels::RowFault::none) continue;
      const int64_t at = static_cast<int64_t>(p) * layout.length + n;
      wanted[at] = 0;
      tokens[at] = -1 - static_cast<int32_t>(ofState[n]);
    }
  }
}

void CpuDevice::open(const Layout& layout, const uint64_t* seeds, uint32_t step, const Block& block,
                     const uint8_t* wanted, uint8_t* opened) {
  for (int p = 0; p < layout.particles(); ++p) {
    for (int n = 0; n < layout.length; ++n) {
      const int64_t at = static_cast<int64_t>(p) * layout.length + n;
      const double u = kernels::uniforms(seeds[p / layout.perImage], step, static_cast<uint32_t>(p % layout.perImage),
                                         static_cast<uint32_t>(n), kernels::Purpose::opening)
                           .u;
      opened[at] = wanted[at] && kernels::opens(block.step, block.steps, u);
    }
  }
}

void CpuDevice::score(kernels::Order order, const Logits& z, const TileTable& tiles, const RowStats& rows,
                      const Layout& layout, const int32_t* stateOf, const uint8_t* wanted, const double* logModel,
                      double* scores) {
  for (int64_t p = 0; p < layout.particles(); ++p) {
    for (int n = 0; n < layout.length; ++n) {
      const int64_t at = p * layout.length + n, row = static_cast<int64_t>(stateOf[p]) * layout.length + n;
      if (!wanted[at]) continue;
      scores[at] = order == kernels::Order::confidence ? logModel[at]
                   : order == kernels::Order::entropy  ? -static_cast<double>(rows.entropy[row])
                                                       : kernels::margin(z, tiles, rows, row);
    }
  }
}

void CpuDevice::choose(const Layout& layout, const double* scores, const uint8_t* wanted, int count, uint8_t* opened) {
  const auto length = static_cast<std::size_t>(layout.length);
  for (int64_t first = 0; first < static_cast<int64_t>(layout.particles()) * layout.length; first += layout.length) {
    kernels::choose({scores + first, length}, {wanted + first, length}, count, {opened + first, length});
  }
}

void CpuDevice::draw(const Logits& z, double temperature, const TileTable& tiles, const RowStats& rows,
                     const Layout& layout, const Draws& draws) {
  pool_.run(layout.particles(), [&](int64_t p) {
    for (int n = 0; n < layout.length; ++n) {
      const int64_t at = p * layout.length + n;
      if (!draws.wanted[at]) continue;
      const auto [u, uInside] =
          kernels::uniforms(draws.seeds[p / layout.perImage], draws.step, static_cast<uint32_t>(p % layout.perImage),
                            static_cast<uint32_t>(n), draws.purpose, draws.guess);
      const int64_t row = static_cast<int64_t>(draws.stateOf[p]) * layout.length + n;
      write(draws, at, kernels::drawRow(vectors_, z, temperature, tiles, rows, row, u, uInside));
    }
  });
}

std::vector<int32_t> CpuDevice::redraw(const Logits& z, double temperature, kernels::Truncation truncation,
                                       const Layout& layout, const Draws& draws, std::span<const Redraw> redraws) {
  std::vector<int32_t> tokens(redraws.size(), -1);
  pool_.run(static_cast<int64_t>(redraws.size()), [&](int64_t i) {
    const auto& [p, n, excluded] = redraws[static_cast<std::size_t>(i)];
    const uint32_t attempt = (draws.guess << 16) + (static_cast<uint32_t>(excluded.size()) & 0xffff);
    const auto [u, uInside] =
        kernels::uniforms(draws.seeds[p / layout.perImage], draws.step, static_cast<uint32_t>(p % layout.perImage),
                          static_cast<uint32_t>(n), draws.purpose, attempt);
    const int64_t row = static_cast<int64_t>(draws.stateOf[p]) * layout.length + n;
    const auto drawn = kernels::redrawRow(vectors_, z, temperature, truncation, row, excluded, u, uInside);
    if (!drawn) return;
    write(draws, static_cast<int64_t>(p) * layout.length + n, *drawn);
    tokens[static_cast<std::size_t>(i)] = drawn->token;
  });
  return tokens;
}

void CpuDevice::place(const Layout& layout, const uint8_t* opened, const int32_t* drawn, int32_t* tokens) {
  for (int64_t at = 0; at < static_cast<int64_t>(layout.particles()) * layout.length; ++at) {
    if (opened[at]) tokens[at] = drawn[at];
  }
}

void CpuDevice::accept(const Layout& layout, const uint8_t* opened, const uint8_t* drawn, const double* logModel,
                       const double* logProposal, double* logProb, double* logWeights) {
  for (int64_t p = 0; p < layout.particles(); ++p) {
    double ofTokens = 0, weight = 0;
    for (int64_t at = p * layout.length; at < (p + 1) * layout.length; ++at) {
      if (opened[at]) ofTokens += logModel[at];
      if (drawn[at]) weight += logModel[at] - logProposal[at];
    }
    logProb[p] += ofTokens;
    logWeights[p] += weight;
  }
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

void CpuDevice::average(std::span<const float* const> embeddings, int size, float* mean) {
  if (embeddings.size() == 1) {
    copy(mean, embeddings[0], static_cast<std::size_t>(size) * sizeof(float));
  } else {
    kernels::average(embeddings, size, mean);
  }
}

void CpuDevice::weigh(const Layout& layout, int guesses, const WeightedRewards& rewards, const double* previousTotal,
                      double* total, double* logWeights) {
  kernels::weigh(rewards, guesses, layout.particles(), previousTotal, total, logWeights);
}

void CpuDevice::effectiveSampleSize(const Layout& layout, const double* logWeights, double* ess) {
  for (int b = 0; b < layout.images; ++b) ess[b] = kernels::effectiveSampleSize(ofImage(layout, logWeights, b));
}

void CpuDevice::resample(const Layout& layout, kernels::Scheme scheme, const uint64_t* seeds, uint32_t step,
                         const Due& due, uint8_t* resampled, double* logWeights, int32_t* ancestors) {
  std::vector<double> u(static_cast<std::size_t>(layout.perImage));
  for (int b = 0; b < layout.images; ++b) {
    const std::span<double> weights = ofImage(layout, logWeights, b);
    const std::span<int32_t> slots = ofImage(layout, ancestors, b);
    resampled[b] = due.live[b] && kernels::isDue(due.ess[b], due.threshold, layout.perImage);
    if (!resampled[b]) {
      std::iota(slots.begin(), slots.end(), 0);
      continue;
    }
    for (std::size_t k = 0; k < u.size(); ++k) {
      u[k] = kernels::uniforms(seeds[b], step, static_cast<uint32_t>(k), 0, kernels::Purpose::resampling).u;
    }
    kernels::resample(weights, scheme, u, slots);
    std::fill(weights.begin(), weights.end(), 0.0);
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
