#include "memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <utility>

namespace fkinv {
namespace {

std::size_t toSize(int n) { return static_cast<std::size_t>(n); }

std::string gibibytes(std::size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

std::string nameOf(const Device& device) {
  return std::string_view(device.memoryName()) == "Cuda" ? "cuda:" + std::to_string(device.memoryIndex()) : "the CPU";
}

MemoryShape withImages(MemoryShape shape, int images) {
  shape.layout.images = images;
  return shape;
}

Error outOfMemory(const Device& device, const MemoryShape& shape, std::size_t free) {
  const auto [images, perImage, length] = shape.layout;
  const int fitting = imagesThatFit(shape, free);
  const auto take = [&](int of) { return gibibytes(planMemory(withImages(shape, of)).total()); };
  const std::string where = nameOf(device) + ", which has " + gibibytes(free) + " free: ";
  const std::string particles = std::to_string(perImage) + " particles";
  if (fitting == 0) {
    return Error("OUT_OF_MEMORY", "the " + particles + " of an image take " + take(1) + " of " + where +
                                      "use fewer particles or guesses, or a shorter prompt");
  }
  const std::string all = std::to_string(images) + (images == 1 ? " image" : " images") + " of " + particles;
  const std::string remedy = fitting < images ? "maxBatch " + std::to_string(fitting * perImage) + " would fit"
                                              : "something else took it meanwhile, try again";
  return Error("OUT_OF_MEMORY", all + " take " + take(images) + " of " + where + remedy);
}

}  // namespace

MemoryPlan planMemory(const MemoryShape& s) {
  const std::size_t B = toSize(s.layout.images), P = B * toSize(s.layout.perImage), N = toSize(s.layout.length);
  const std::size_t G = toSize(s.guesses), width = toSize(s.width), V = toSize(s.vocab), E = toSize(s.embedSize);
  const std::size_t tiles = (V + kernels::kTile - 1) / kernels::kTile;
  const std::size_t chunks = (tiles + toSize(s.chunkTiles) - 1) / toSize(s.chunkTiles);
  constexpr std::size_t kId = sizeof(int32_t), kInput = sizeof(int64_t), kFloat = sizeof(float),
                        kDouble = sizeof(double);

  MemoryPlan plan = {};
  plan.logits = P * (width * V * s.logitBytes + toSize(s.idInputs) * width * kInput + s.timestepBytes +
                     toSize(s.conditionSize) * kFloat);
  plan.tiles = P * (N * tiles * (4 * kFloat + kDouble) + chunks * (N * (N + 1) / 2) * kFloat);
  plan.rows = P * N * (3 * kFloat + 3 * kDouble + sizeof(kernels::RowFault) + sizeof(int64_t)) + P * N * N * kFloat;
  plan.texts = G * P * (toSize(s.textInputs) * toSize(s.textWidth) * kInput + E * kFloat);
  const std::size_t perPosition = 3 * kId + 2 * sizeof(uint8_t) + 3 * kDouble;   // tokens, marks, probabilities
  const std::size_t perGuess = N * (kId + sizeof(uint8_t)) + 2 * kDouble + kId;  // tokens, marks, rewards, its text
  const std::size_t perParticle = 3 * kId + 5 * kDouble;                         // states and ancestors, weights
  const std::size_t perImage = E * kFloat + 2 * sizeof(uint8_t) + sizeof(uint64_t) + kDouble;
  // Rewards and weights, ancestors, tokens; of an image its ESS and whether it was resampled.
  const std::size_t outcome = P * (2 * G * kDouble + kDouble + kId + N * kId) + B * (kDouble + sizeof(uint8_t));
  plan.particles = P * (N * perPosition + G * perGuess + perParticle) + B * perImage + outcome + s.fixedBytes;
  return plan;
}

// Every term is of the images, or of none.
int imagesThatFit(MemoryShape shape, std::size_t bytes) {
  const std::size_t fixed = planMemory(withImages(shape, 0)).total();
  const std::size_t each = planMemory(withImages(shape, 1)).total() - fixed;
  return bytes < fixed ? 0 : static_cast<int>((bytes - fixed) / each);
}

MemoryShape memoryShape(const Device& device, const DllmGraph& dllm, const TextGraph& text, int embedSize,
                        const ParticleOptions& options) {
  const auto inputs = [](std::initializer_list<std::string_view> names) {
    return static_cast<int>(std::count_if(names.begin(), names.end(), [](auto name) { return !name.empty(); }));
  };
  MemoryShape shape = {};
  shape.layout = options.layout;
  shape.guesses = options.guesses;
  const std::size_t prefix = options.prefixes.size() / toSize(options.layout.images);
  shape.width = static_cast<int>(prefix + dllm.suffix.size()) + options.layout.length;
  shape.vocab = dllm.vocab;
  shape.logitBytes = ort::typeBytes(dllm.session->typeOf(dllm.logits));
  shape.idInputs = inputs({dllm.ids, dllm.attentionMask, dllm.positionIds});
  shape.timestepBytes = dllm.timestep.empty() ? 0 : ort::typeBytes(dllm.session->typeOf(dllm.timestep));
  if (!dllm.condition.empty()) {
    shape.conditionSize = dllm.conditionShape.empty() ? embedSize : 1;
    for (int64_t extent : dllm.conditionShape) shape.conditionSize *= static_cast<int>(extent);
  }
  shape.textInputs = inputs({text.ids, text.attentionMask});
  shape.textWidth = text.maxWidth;
  shape.embedSize = embedSize;
  shape.chunkTiles = device.chunkTiles();
  shape.fixedBytes = (options.suppressed.size() + options.stops.size()) * sizeof(int32_t);
  for (const Restriction& restriction : options.restrictions) {
    shape.fixedBytes += restriction.ids.size() * sizeof(int32_t) + restriction.at.size();
  }
  return shape;
}

std::shared_ptr<Particles> makeParticles(const std::shared_ptr<Device>& device, const DllmGraph& dllm,
                                         const TextGraph& text, std::vector<Reference> references, int embedSize,
                                         ParticleOptions options, std::vector<Features> conditions) {
  const MemoryShape shape = memoryShape(*device, dllm, text, embedSize, options);
  try {
    return std::make_shared<Particles>(device, dllm, text, std::move(references), embedSize, std::move(options),
                                       std::move(conditions));
  } catch (const Error& error) {
    if (std::string_view(error.code) != "OUT_OF_MEMORY") throw;
    const auto free = device->freeBytes();  // with what the attempt had taken given back
    if (!free) throw;
    throw outOfMemory(*device, shape, *free);
  }
}

}  // namespace fkinv
