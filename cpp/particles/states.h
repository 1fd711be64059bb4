// Distinct states, steps 1 and 2: one forward for each, and the one read of its logits.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/pass_tables.h"
#include "engine/cancel.h"
#include "extents.h"
#include "images.h"
#include "ort/binding.h"
#include "places.h"
#include "transfer.h"

namespace fkinv {

/// The tensors of the dLLM's runs, a row a state.
std::vector<GraphTensor> tensorsOf(const DllmGraph&, int embedSize, const ParticleOptions&);

/// At most one state a particle, each at a place of its own from the step it first appears in to its last, so that its
/// logits and what was read of them need not be made again.
class States {
 public:
  /// The rows of the logits that the kernels read.
  struct RowArrays {
    Array<int64_t> rowOf;  // [states, length]

    template <class Visit>
    void each(const Extents& e, Visit visit) {
      visit(rowOf, e.positions());
    }
  };
  struct Arrays {
    Array<int32_t> stateOf, spareStateOf;  // [particles]
    Array<int32_t> suppressed;
    Array<int32_t> restricted;    // ids of the restrictions, one after the other
    Array<uint8_t> restrictedAt;  // [restrictions, length]
    Array<uint8_t> narrow;        // [images, narrowBytes] the conditions, where the graph takes them in float16

    template <class Visit>
    void each(const Extents& e, Visit visit) {
      visit(stateOf, e.particles);
      visit(spareStateOf, e.particles);
      visit(suppressed, e.suppressed);
      visit(restricted, e.restrictedIds);
      visit(restrictedAt, e.restrictions * e.length);
      visit(narrow, e.images * e.narrowBytes);
    }
  };

  States(std::shared_ptr<Device> device, Transfer& transfer, Images& images, const Extents& extents,
         const DllmGraph& dllm, const ParticleOptions& options);

  /// Particles with equal `tokens` [particles, length] share a state; with an image condition or a prefix of its own,
  /// only those of the same image do. Returns how many states each image's particles have [images].
  std::vector<int32_t> find(const std::vector<int32_t>& tokens);
  /// Runs the dLLM on the fresh states, and returns how many there are.
  int run(const std::vector<int32_t>& tokens, CancelToken& cancel, std::vector<Failure>& failures);
  /// Suppresses what is suppressed, and reads the fresh states' logits.
  void read();
  /// Fails the images of the states with a faulty row, of which `guess` [particles, length] tells (ops::Exclude).
  void checkRows(const std::vector<int32_t>& guess, std::vector<Failure>& failures);
  /// Has each particle in the state of its ancestor.
  void follow(const int32_t* ancestors);

  /// The logits of all places, whether or not a state is there now.
  Logits logits() { return logits(0, layout_.particles()); }
  /// What was read of them.
  const PassTables& tables() const { return tables_; }
  const Array<int32_t>& stateOf() const { return arrays_.stateOf; }
  /// S [states, length, length].
  const float* gram() const { return tables_.rows().gram; }
  /// Numbers of a condition's row; 0 where the dLLM takes none.
  int conditionSize() const { return conditionSize_; }
  std::size_t bytes();

 private:
  int width() const { return options_.prefix() + layout_.length + static_cast<int>(dllm_.suffix.size()); }
  /// Rows of logits that a run gives, and the first of the prompt's among them.
  int logitRows() const { return dllm_.rows.empty() ? width() : layout_.length; }
  int firstLogitRow() const { return dllm_.rows.empty() ? options_.prefix() - dllm_.shift : 0; }
  void bind();
  std::vector<double> sharedValues(const GraphTensor& tensor) const;
  const void* conditionOf(int image);
  void uploadMasks();
  std::vector<std::string> keysOf(const std::vector<int32_t>& tokens) const;
  Logits logits(int first, int states);
  void read(int first, int states);
  template <class Message>
  void failState(int32_t state, Message message, std::vector<Failure>& failures);

  const std::shared_ptr<Device> device_;
  Transfer& transfer_;
  Images& images_;
  const Extents extents_;
  const DllmGraph dllm_;
  const ParticleOptions& options_;
  const Layout layout_;
  const kernels::LogitsType logitsType_;
  ort::Binding binding_;
  GraphTensor idsTensor_, conditionTensor_;
  char* ids_ = nullptr;        // [states, width]
  char* condition_ = nullptr;  // [states, conditionSize], or null
  void* logits_ = nullptr;     // [states, logitRows, vocab]
  int conditionSize_ = 0;
  std::vector<bool> isNarrowed_;  // [images] whose condition the device has in the graph's type
  PassTables tables_;
  RowArrays rows_;
  Arrays arrays_;
  Places places_;
  std::vector<int32_t> stateOf_;      // [particles], −1 where the image failed
  std::vector<Places::Fresh> fresh_;  // those that the step before did not have
};

}  // namespace fkinv
