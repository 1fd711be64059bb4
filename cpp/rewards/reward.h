// What steers the particles: a reward has a name, a weight λ and values [guesses, particles].
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device/device.h"
#include "particles/extents.h"
#include "particles/images.h"

namespace fkinv {

/// What a step has that rewards are computed from, on the device: rows of a guess lie one after the other,
/// [guesses, particles, …].
struct Guessed {
  const int32_t* tokens;   // [guesses, particles, length]
  const int32_t* stateOf;  // [particles]
  const float* gram;       // [states, length, length] S
  ops::Embeddings texts;   // [places, embedSize]
  const int32_t* textOf;   // [guesses, particles] places
  const float* images;     // [images, embedSize]
};

/// A reward that the engine computes. One over texts alone needs no such class: its values come with the texts
/// (RewardOptions::isGiven).
class Reward {
 public:
  struct Arrays {
    Array<double> values;  // [guesses, particles]

    template <class Visit>
    void each(const Extents& e, Visit visit) {
      visit(values, e.allGuesses());
    }
  };

  Reward(const std::shared_ptr<Device>& device, const Extents& extents, const ParticleOptions& options)
      : device_(device), extents_(extents), layout_(options.layout) {
    allocate(arrays_, device_, extents_);
  }
  virtual ~Reward() = default;

  /// Computes the values as soon as the guesses' tokens are known, while the host makes texts of them. May be called
  /// again, when tokens were drawn anew.
  virtual void ofTokens(const Guessed&) {}
  /// Computes the values once the texts are embedded.
  virtual void ofTexts(const Guessed&) {}
  /// Fails the images with values that no reward can have.
  virtual void check(const std::vector<double>&, Images&, std::vector<Failure>&) const {}

  Array<double>& values() { return arrays_.values; }
  virtual std::size_t bytes() { return heldBytes(arrays_, extents_); }

 protected:
  const std::shared_ptr<Device> device_;
  const Extents extents_;
  const Layout layout_;
  Arrays arrays_;
};

}  // namespace fkinv
