#include "memory_plan.h"

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
  shape.extents.images = toSize(images);
  shape.extents.particles = toSize(shape.layout.particles());
  return shape;
}

std::size_t bytesOf(const std::vector<GraphTensor>& tensors, bool isShared) {
  std::size_t sum = 0;
  for (const GraphTensor& tensor : tensors) sum += tensor.isShared == isShared ? tensor.rowBytes() : 0;
  return sum;
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

MemoryPlan planMemory(const MemoryShape& shape) {
  const Extents& e = shape.extents;
  return {.logits = shape.dllmSharedBytes + e.particles * shape.dllmRowBytes,
          .tiles = kernels::bytesOf<TileTable>(e.passShape()),
          .rows = kernels::bytesOf<RowStats>(e.passShape()) + plannedBytes<States::RowArrays>(e),
          .texts = e.allGuesses() * shape.textRowBytes,
          .particles = plannedBytes<Images::Arrays>(e) + plannedBytes<States::Arrays>(e) +
                       plannedBytes<Texts::Arrays>(e) + plannedBytes<Proposal::Arrays>(e) + plannedRewardBytes(e) +
                       plannedBytes<Weights::Arrays>(e) + outcomeBytes(e)};
}

// Every term is of the images, or of none.
int imagesThatFit(MemoryShape shape, std::size_t bytes) {
  const std::size_t fixed = planMemory(withImages(shape, 0)).total();
  const std::size_t each = planMemory(withImages(shape, 1)).total() - fixed;
  return bytes < fixed ? 0 : static_cast<int>((bytes - fixed) / each);
}

MemoryShape memoryShape(const Device& device, const DllmGraph& dllm, const TextGraph& text, int embedSize,
                        const ParticleOptions& options) {
  const std::vector<GraphTensor> ofDllm = tensorsOf(dllm, embedSize, options);
  return {.layout = options.layout,
          .extents = extentsOf(device, dllm, embedSize, options),
          .dllmRowBytes = bytesOf(ofDllm, false),
          .dllmSharedBytes = bytesOf(ofDllm, true),
          .textRowBytes = bytesOf(tensorsOf(text, embedSize), false)};
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
