// The guesses' texts, step 4: CLIP's forwards, one for each distinct text that the step before did not have.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/cancel.h"
#include "extents.h"
#include "images.h"
#include "ort/binding.h"
#include "places.h"
#include "transfer.h"

namespace fkinv {

/// The tensors of CLIP's runs, a row a text.
std::vector<GraphTensor> tensorsOf(const TextGraph&, int embedSize);

/// Distinct texts of a step as CLIP's ids, one text after the other, and which of them each guess has.
struct TextBatch {
  std::vector<int64_t> ids;
  std::vector<int64_t> mask;    // as long as ids, 0 where a text is padded; empty where no text is
  std::vector<int32_t> widths;  // [texts]
  std::vector<int32_t> textOf;  // [guesses, particles], −1 where the image failed
};

class Texts {
 public:
  struct Arrays {
    Array<int32_t> textOf;  // [guesses, particles] places of their texts

    template <class Visit>
    void each(const Extents& e, Visit visit) {
      visit(textOf, e.allGuesses());
    }
  };

  Texts(std::shared_ptr<Device> device, Transfer& transfer, Images& images, const Extents& extents,
        const TextGraph& text);

  /// Embeds the texts that the step before did not have; an image with a text that cannot be fails.
  void encode(const TextBatch& batch, CancelToken& cancel, std::vector<Failure>& failures);
  /// Tells the device where each guess's embedding is.
  void uploadPlaces() { transfer_.upload(Copied::textIds, arrays_.textOf, placeOf_); }

  ops::Embeddings embeddings() const { return embeddings_; }  // [places, embedSize]
  const Array<int32_t>& textOf() const { return arrays_.textOf; }
  std::size_t bytes() { return binding_.bytes() + heldBytes(arrays_, extents_); }

 private:
  // An input of whole numbers [places, maxWidth].
  struct Input {
    bool isNarrow = false;  // int32, not int64
    char* memory = nullptr;
    std::size_t rowBytes = 0;
  };
  void upload(Copied why, const Input& input, int32_t place, std::span<const int64_t> values);

  const std::shared_ptr<Device> device_;
  Transfer& transfer_;
  Images& images_;
  const Extents extents_;
  const TextGraph text_;
  ort::Binding binding_;
  Input ids_, mask_;
  ops::Embeddings embeddings_ = {};
  Arrays arrays_;
  Places places_;
  std::vector<int32_t> placeOf_;  // [guesses, particles]
};

}  // namespace fkinv
