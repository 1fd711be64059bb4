// The images of a call: what the models see of them, their seeds, and which of them have failed.
#pragma once
#include <cstdint>
#include <vector>

#include "error.h"
#include "extents.h"
#include "transfer.h"

namespace fkinv {

/// Why an image cannot go on.
struct Failure {
  int image;
  Error error;
};

class Images {
 public:
  struct Arrays {
    Array<float> embeds;    // [images, embedSize]
    Array<uint8_t> live;    // [images] not 0 until it fails
    Array<uint64_t> seeds;  // [images]

    template <class Visit>
    void each(const Extents& e, Visit visit) {
      visit(embeds, e.images * e.embedSize);
      visit(live, e.images);
      visit(seeds, e.images);
    }
  };

  Images(std::shared_ptr<Device> device, Transfer& transfer, const Extents& extents, const ParticleOptions& options,
         std::vector<Reference> references, std::vector<Features> conditions);

  /// Averages each image's embeddings; fails the images whose embedding or condition is zero or not finite. Before the
  /// first forward: what a dLLM makes of a broken embedding would be blamed on the dLLM.
  void prepare(int conditionSize, std::vector<Failure>& failures);

  bool isLive(int image) const { return live_[static_cast<std::size_t>(image)] != 0; }
  bool isLiveParticle(std::size_t particle) const { return isLive(imageOf(particle)); }
  /// Leaves an image out of what follows.
  void retire(int image) { live_[static_cast<std::size_t>(image)] = 0; }
  /// Retires it and says why, unless it was left out before.
  void fail(int image, Error error, std::vector<Failure>& failures);
  /// Has the device know which are live, where that has changed.
  void uploadLive();

  int imageOf(std::size_t particle) const { return static_cast<int>(particle) / layout_.perImage; }
  const float* embeds() const { return arrays_.embeds.data(); }
  /// What a conditional dLLM is given for an image, on the device.
  const float* conditionOf(int image) const;
  const uint8_t* live() const { return arrays_.live.data(); }
  const uint64_t* seeds() const { return arrays_.seeds.data(); }
  std::size_t bytes() { return heldBytes(arrays_, extents_); }

 private:
  void averageReferences(std::vector<Failure>& failures);
  void checkConditions(int conditionSize, std::vector<Failure>& failures);

  const std::shared_ptr<Device> device_;
  Transfer& transfer_;
  const Extents extents_;
  const Layout layout_;
  const int embedSize_;
  const std::vector<Reference> references_;
  const std::vector<Features> conditions_;  // [images], or none
  Arrays arrays_;
  std::vector<uint8_t> live_;   // [images]
  std::vector<uint8_t> known_;  // what the device has of it
};

}  // namespace fkinv
