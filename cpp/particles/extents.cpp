#include "extents.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace fkinv {

Extents extentsOf(const Device& device, const DllmGraph& dllm, int embedSize, const ParticleOptions& options) {
  const auto size = [](int n) { return static_cast<std::size_t>(n); };
  Extents e = {};
  e.images = size(options.layout.images);
  e.particles = size(options.layout.particles());
  e.length = size(options.layout.length);
  e.guesses = size(options.guesses);
  e.vocab = dllm.vocab;
  e.chunkTiles = device.chunkTiles();
  e.embedSize = size(embedSize);
  if (dllm.session->typeOf(dllm.condition) == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16) {
    const std::vector<int64_t> ofClip = {embedSize};
    e.narrowBytes = GraphTensor{dllm.condition, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
                                dllm.conditionShape.empty() ? ofClip : dllm.conditionShape}
                        .rowBytes();
  }
  e.suppressed = options.suppressed.size();
  e.stops = options.stops.size();
  e.restrictions = options.restrictions.size();
  for (const Restriction& restriction : options.restrictions) e.restrictedIds += restriction.ids.size();
  e.rewards = options.rewards.size();
  e.givenRewards = static_cast<std::size_t>(
      std::count_if(options.rewards.begin(), options.rewards.end(), [](const auto& reward) { return reward.isGiven; }));
  return e;
}

std::size_t GraphTensor::rowBytes() const {
  const int64_t elements = std::accumulate(rowShape.begin(), rowShape.end(), int64_t{1}, std::multiplies<>());
  return static_cast<std::size_t>(elements) * ort::typeBytes(type);
}

}  // namespace fkinv
