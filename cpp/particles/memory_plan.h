// What an inversion takes of a device's memory, from its shapes, before anything is allocated.
#pragma once
#include <cstddef>
#include <memory>

#include "particles.h"

namespace fkinv {

/// The sizes that decide it: of the arrays, and of the tensors of the graphs' runs, by the row.
struct MemoryShape {
  Layout layout;
  Extents extents;
  std::size_t dllmRowBytes, dllmSharedBytes, textRowBytes;
};

/// Bytes of device memory by what they are for.
struct MemoryPlan {
  std::size_t logits;     // of every state, with the other tensors of the dLLM's runs
  std::size_t tiles;      // tables for the draws, with the parts of S
  std::size_t rows;       // each row's softmax statistics, and S
  std::size_t texts;      // of CLIP's runs
  std::size_t particles;  // tokens, rewards, weights, embeddings of the images
  std::size_t total() const { return logits + tiles + rows + texts + particles; }
};

/// The particle system's own memory, which Particles::bytes() comes to. What ONNX Runtime takes for weights and for
/// what lies between a model's inputs and outputs is not in it, nor what a call takes for its own time.
MemoryPlan planMemory(const MemoryShape&);

/// The most images whose plan is within `bytes`; 0 for none.
int imagesThatFit(MemoryShape shape, std::size_t bytes);

MemoryShape memoryShape(const Device&, const DllmGraph&, const TextGraph&, int embedSize, const ParticleOptions&);

/// The particle system, whose arguments these are. Where the device has no room for it, Error "OUT_OF_MEMORY" says what
/// it takes, what is free and which maxBatch would fit.
std::shared_ptr<Particles> makeParticles(const std::shared_ptr<Device>& device, const DllmGraph& dllm,
                                         const TextGraph& text, std::vector<Reference> references, int embedSize,
                                         ParticleOptions options, std::vector<Features> conditions);

}  // namespace fkinv
