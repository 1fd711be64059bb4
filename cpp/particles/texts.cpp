#include "texts.h"

#include <string>
#include <utility>

namespace fkinv {
namespace {

constexpr auto kInt32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, kFloat16 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;

}  // namespace

std::vector<GraphTensor> tensorsOf(const TextGraph& text, int embedSize) {
  const auto tensor = [&](const std::string& name, int64_t width) {
    return GraphTensor{name, text.session->typeOf(name), {width}};
  };
  std::vector<GraphTensor> tensors = {tensor(text.ids, text.maxWidth), tensor(text.embeddings, embedSize)};
  if (!text.attentionMask.empty()) tensors.push_back(tensor(text.attentionMask, text.maxWidth));
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
      embeddings_ = {binding_.output(tensor.name, tensor.type, texts, tensor.rowShape),
                     tensor.type == kFloat16 ? kernels::LogitsType::float16 : kernels::LogitsType::float32};
      continue;
    }
    const Input input = {.isNarrow = tensor.type == kInt32,
                         .memory = static_cast<char*>(binding_.input(tensor.name, tensor.type, texts, tensor.rowShape)),
                         .rowBytes = tensor.rowBytes()};
    if (tensor.name == text_.ids) {
      ids_ = input;
      continue;
    }
    mask_ = input;
    const std::vector<int64_t> ones(static_cast<std::size_t>(text_.maxWidth), 1);
    for (int32_t place = 0; place < texts; ++place) upload(Copied::setUp, mask_, place, ones);
  }
}

void Texts::upload(Copied why, const Input& input, int32_t place, std::span<const int64_t> values) {
  char* const to = input.memory + static_cast<std::size_t>(place) * input.rowBytes;
  if (!input.isNarrow) return transfer_.upload(why, to, values.data(), values.size_bytes());
  const std::vector<int32_t> narrow(values.begin(), values.end());
  transfer_.upload(why, to, narrow.data(), narrow.size() * sizeof(int32_t));
}

void Texts::encode(const TextBatch& batch, CancelToken& cancel, std::vector<Failure>& failures) {
  std::vector<std::string> keys;
  std::vector<std::size_t> starts;
  std::size_t next = 0;
  for (const int32_t width : batch.widths) {
    starts.push_back(next);
    const std::span<const int64_t> ids = std::span(batch.ids).subspan(next, static_cast<std::size_t>(width));
    keys.emplace_back(reinterpret_cast<const char*>(ids.data()), ids.size_bytes());
    next += ids.size();
  }
  const auto [places, fresh] = places_.take(keys);
  std::vector<int64_t> rows;
  std::vector<int32_t> widths;
  for (const auto& [place, text] : fresh) {
    const std::size_t start = starts[text], width = static_cast<std::size_t>(batch.widths[text]);
    upload(Copied::textIds, ids_, place, std::span(batch.ids).subspan(start, width));
    if (mask_.memory != nullptr && !batch.mask.empty()) {
      upload(Copied::textIds, mask_, place, std::span(batch.mask).subspan(start, width));
    }
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
