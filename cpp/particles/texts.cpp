#include "texts.h"

#include <string>
#include <utility>

namespace fkinv {
namespace {

constexpr auto kFloat32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;

}  // namespace

std::vector<GraphTensor> tensorsOf(const TextGraph& text, int embedSize) {
  std::vector<GraphTensor> tensors = {{text.ids, kInt64, {text.maxWidth}}, {text.embeddings, kFloat32, {embedSize}}};
  if (!text.attentionMask.empty()) tensors.push_back({text.attentionMask, kInt64, {text.maxWidth}});
  return tensors;
}

// Room for as many texts as a step can have.
Texts::Texts(std::shared_ptr<Device> device, Transfer& transfer, Images& images, const Extents& extents,
             const TextGraph& text)
    : device_(std::move(device)),
      transfer_(transfer),
      images_(images),
      extents_(extents),
      text_(text),
      binding_(text.session, device_, "CLIP text") {
  allocate(arrays_, device_, extents_);
  const auto texts = static_cast<int64_t>(extents_.allGuesses());
  for (const GraphTensor& tensor : tensorsOf(text_, static_cast<int>(extents_.embedSize))) {
    if (tensor.name == text_.embeddings) {
      embeddings_ = static_cast<float*>(binding_.output(tensor.name, tensor.type, texts, tensor.rowShape));
      continue;
    }
    void* const memory = binding_.input(tensor.name, tensor.type, texts, tensor.rowShape);
    if (tensor.name == text_.ids) {
      ids_ = static_cast<int64_t*>(memory);
    } else {
      const std::vector<int64_t> ones(extents_.allGuesses() * static_cast<std::size_t>(text_.maxWidth), 1);
      transfer_.upload(Copied::setUp, memory, ones.data(), ones.size() * sizeof(int64_t));
    }
  }
}

void Texts::encode(const TextBatch& batch, CancelToken& cancel, std::vector<Failure>& failures) {
  std::vector<std::string> keys;
  std::vector<const int64_t*> idsOf;
  const int64_t* next = batch.ids.data();
  for (const int32_t width : batch.widths) {
    idsOf.push_back(next);
    keys.emplace_back(reinterpret_cast<const char*>(next), static_cast<std::size_t>(width) * sizeof(int64_t));
    next += width;
  }
  const auto [places, fresh] = places_.take(keys);
  std::vector<int64_t> rows;
  std::vector<int32_t> widths;
  for (const auto& [place, text] : fresh) {
    transfer_.upload(Copied::textIds, ids_ + int64_t{place} * text_.maxWidth, idsOf[text], keys[text].size());
    rows.push_back(place);
    widths.push_back(batch.widths[text]);
  }
  // What guesses of an image that failed are given is read, and not used.
  placeOf_.clear();
  for (const int32_t text : batch.textOf) placeOf_.push_back(text < 0 ? 0 : places[static_cast<std::size_t>(text)]);
  for (const ort::Binding::Failure& failed : binding_.run(rows, cancel, widths)) {
    places_.forget(static_cast<int32_t>(failed.row));
    for (std::size_t i = 0; i < placeOf_.size(); ++i) {
      if (placeOf_[i] == failed.row && batch.textOf[i] >= 0) {
        images_.fail(images_.imageOf(i % extents_.particles), failed.error, failures);
      }
    }
  }
}

}  // namespace fkinv
