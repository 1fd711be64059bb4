#include "states.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "ops/read_logits.h"
#include "ort/typed.h"

namespace fkinv {
namespace {

// What keeps a score from counting: far below any, and finite in float32.
constexpr double kMasked = -1e9;

kernels::LogitsType logitsTypeOf(ONNXTensorElementDataType type) {
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16) return kernels::LogitsType::float16;
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16) return kernels::LogitsType::bfloat16;
  return kernels::LogitsType::float32;
}

}  // namespace

std::vector<GraphTensor> tensorsOf(const DllmGraph& dllm, int embedSize, const ParticleOptions& options) {
  const int64_t width = options.prefix() + options.layout.length + static_cast<int64_t>(dllm.suffix.size());
  const int64_t length = options.layout.length;
  std::vector<GraphTensor> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, bool isShared) {
    if (!name.empty()) tensors.push_back({name, dllm.session->typeOf(name), std::move(shape), isShared});
  };
  add(dllm.ids, {width}, false);
  add(dllm.logits, {dllm.rows.empty() ? width : length, dllm.vocab}, false);
  add(dllm.condition, dllm.conditionShape.empty() ? std::vector<int64_t>{embedSize} : dllm.conditionShape, false);
  if (dllm.session->rankOf(dllm.attentionMask) == 4) {
    add(dllm.attentionMask, {1, 1, width, width}, true);
  } else {
    add(dllm.attentionMask, {1, width}, true);
  }
  add(dllm.positionIds, {1, width}, true);
  add(dllm.timestep, {1}, true);
  add(dllm.rows, {length}, true);
  return tensors;
}

States::States(std::shared_ptr<Device> device, Transfer& transfer, Images& images, const Extents& extents,
               const DllmGraph& dllm, const ParticleOptions& options)
    : device_(std::move(device)),
      transfer_(transfer),
      images_(images),
      extents_(extents),
      dllm_(dllm),
      options_(options),
      layout_(options.layout),
      logitsType_(logitsTypeOf(dllm.session->typeOf(dllm.logits))),
      binding_(dllm.session, device_, "dLLM"),
      tables_(device_, extents.passShape()) {
  allocate(rows_, device_, extents_);
  allocate(arrays_, device_, extents_);
  bind();
  uploadMasks();
  // The logits of position i of state q stand behind the prefix, and one row earlier where row i predicts i + 1.
  std::vector<int64_t> rowOf;
  for (int64_t q = 0; q < layout_.particles(); ++q) {
    for (int i = 0; i < layout_.length; ++i) rowOf.push_back(q * logitRows() + firstLogitRow() + i);
  }
  transfer_.upload(Copied::setUp, rows_.rowOf, rowOf);
}

// Room for as many states as a step can have, with the inputs that are the same in every run.
void States::bind() {
  const int64_t states = layout_.particles();
  for (const GraphTensor& tensor : tensorsOf(dllm_, static_cast<int>(extents_.embedSize), options_)) {
    if (tensor.isShared) {
      const std::vector<uint8_t> bytes = ort::typed(sharedValues(tensor), tensor.type);
      void* const memory = binding_.sharedInput(tensor.name, tensor.type, tensor.rowShape);
      transfer_.upload(Copied::setUp, memory, bytes.data(), bytes.size());
    } else if (tensor.name == dllm_.logits) {
      logits_ = binding_.output(tensor.name, tensor.type, states, tensor.rowShape);
    } else {
      const bool isIds = tensor.name == dllm_.ids;
      (isIds ? ids_ : condition_) =
          static_cast<char*>(binding_.input(tensor.name, tensor.type, states, tensor.rowShape));
      (isIds ? idsTensor_ : conditionTensor_) = tensor;
    }
  }
  if (condition_ == nullptr) return;
  conditionSize_ = static_cast<int>(conditionTensor_.rowBytes() / ort::typeBytes(conditionTensor_.type));
}

// What an input holds that is the same in every run.
std::vector<double> States::sharedValues(const GraphTensor& tensor) const {
  const auto width = static_cast<std::size_t>(this->width());
  if (tensor.name == dllm_.timestep) return {0};
  if (tensor.name == dllm_.attentionMask && tensor.rowShape.size() == 2) return std::vector<double>(width, 1);
  if (tensor.name == dllm_.attentionMask) {
    std::vector<double> added(width * width, 0);
    const auto block = static_cast<std::size_t>(dllm_.attentionBlock);
    for (std::size_t i = 0; block > 0 && i < width; ++i) {
      for (std::size_t j = std::min((i / block + 1) * block, width); j < width; ++j) added[i * width + j] = kMasked;
    }
    return added;
  }
  const bool isRows = tensor.name == dllm_.rows;
  std::vector<double> places(isRows ? extents_.length : width);
  std::iota(places.begin(), places.end(), isRows ? options_.prefix() - dllm_.shift : 0);
  return places;
}

// The condition of an image on the device, in the graph's type.
const void* States::conditionOf(int image) {
  const float* const condition = images_.conditionOf(image);
  if (extents_.narrowBytes == 0) return condition;
  const auto b = static_cast<std::size_t>(image);
  uint8_t* const narrow = arrays_.narrow.data() + b * extents_.narrowBytes;
  isNarrowed_.resize(extents_.images);
  if (!isNarrowed_[b]) {
    const std::vector<float> values =
        transfer_.download(Copied::setUp, condition, static_cast<std::size_t>(conditionSize_));
    const std::vector<double> wide(values.begin(), values.end());
    const std::vector<uint8_t> bytes = ort::typed(wide, conditionTensor_.type);
    transfer_.upload(Copied::setUp, narrow, bytes.data(), bytes.size());
    isNarrowed_[b] = true;
  }
  return narrow;
}

void States::uploadMasks() {
  std::vector<int32_t> ids;
  std::vector<uint8_t> at;
  for (const Restriction& restriction : options_.restrictions) {
    ids.insert(ids.end(), restriction.ids.begin(), restriction.ids.end());
    at.insert(at.end(), restriction.at.begin(), restriction.at.end());
  }
  transfer_.upload(Copied::setUp, arrays_.suppressed, options_.suppressed);
  transfer_.upload(Copied::setUp, arrays_.restricted, ids);
  transfer_.upload(Copied::setUp, arrays_.restrictedAt, at);
}

// What particles of the same state have in common; empty where the image failed.
std::vector<std::string> States::keysOf(const std::vector<int32_t>& tokens) const {
  const std::size_t length = extents_.length;
  const auto first = options_.prefixes.begin();
  const bool isOfImage =
      !dllm_.condition.empty() || !std::equal(first + options_.prefix(), options_.prefixes.end(), first);
  std::vector<std::string> keys(extents_.particles);
  for (std::size_t p = 0; p < keys.size(); ++p) {
    if (!images_.isLiveParticle(p)) continue;
    keys[p].assign(reinterpret_cast<const char*>(&tokens[p * length]), length * sizeof(int32_t));
    if (isOfImage) keys[p] += std::to_string(images_.imageOf(p));
  }
  return keys;
}

std::vector<int32_t> States::find(const std::vector<int32_t>& tokens) {
  auto [placeOf, fresh] = places_.take(keysOf(tokens));
  stateOf_ = std::move(placeOf);
  fresh_ = std::move(fresh);
  std::vector<int32_t> states = stateOf_, statesOfImage;
  std::replace(states.begin(), states.end(), -1, 0);  // of an image that failed: read, and not used
  transfer_.upload(Copied::tokenIds, arrays_.stateOf, states);
  for (auto state = stateOf_.begin(); state != stateOf_.end(); state += layout_.perImage) {
    std::set<int32_t> distinct(state, state + layout_.perImage);
    distinct.erase(-1);
    statesOfImage.push_back(static_cast<int32_t>(distinct.size()));
  }
  return statesOfImage;
}

int States::run(const std::vector<int32_t>& tokens, CancelToken& cancel, std::vector<Failure>& failures) {
  const auto N = static_cast<int64_t>(layout_.length);
  std::vector<int64_t> states;
  for (const auto& [state, particle] : fresh_) {
    const auto at = static_cast<std::size_t>(state);
    const auto p = static_cast<int64_t>(particle);
    const int image = images_.imageOf(particle);
    const auto prefix = options_.prefixes.begin() + int64_t{image} * options_.prefix();
    std::vector<double> ids(prefix, prefix + options_.prefix());
    ids.insert(ids.end(), tokens.begin() + p * N, tokens.begin() + (p + 1) * N);
    ids.insert(ids.end(), dllm_.suffix.begin(), dllm_.suffix.end());
    const std::vector<uint8_t> bytes = ort::typed(ids, idsTensor_.type);
    transfer_.upload(Copied::tokenIds, ids_ + at * bytes.size(), bytes.data(), bytes.size());
    if (condition_ != nullptr) {
      const std::size_t conditionBytes = conditionTensor_.rowBytes();
      device_->copy(condition_ + at * conditionBytes, conditionOf(image), conditionBytes);
    }
    states.push_back(state);
  }
  for (const ort::Binding::Failure& failed : binding_.run(states, cancel)) {
    failState(static_cast<int32_t>(failed.row), [&](std::size_t) { return failed.error; }, failures);
  }
  return static_cast<int>(fresh_.size());
}

// Fails every image with a particle in the state; message(its first such particle) says what is wrong. An image that
// comes to it later runs it anew, and is told the same.
template <class Message>
void States::failState(int32_t state, Message message, std::vector<Failure>& failures) {
  places_.forget(state);
  for (std::size_t p = 0; p < stateOf_.size(); ++p) {
    if (stateOf_[p] == state) images_.fail(images_.imageOf(p), message(p), failures);
  }
}

// Fresh states that stand one after the other are read at once.
void States::read() {
  for (std::size_t i = 0, end; i < fresh_.size(); i = end) {
    const int first = fresh_[i].place;
    for (end = i + 1; end < fresh_.size() && fresh_[end].place == first + static_cast<int>(end - i);) ++end;
    read(first, static_cast<int>(end - i));
  }
}

void States::read(int first, int states) {
  const Logits z = logits(first, states);
  device_->run(ops::Suppress{.z = z, .ids = arrays_.suppressed.span(), .at = {}});
  std::size_t ids = 0, at = 0;
  for (const Restriction& restriction : options_.restrictions) {
    device_->run(ops::Suppress{.z = z,
                               .ids = arrays_.restricted.span().subspan(ids, restriction.ids.size()),
                               .at = arrays_.restrictedAt.span().subspan(at, restriction.at.size())});
    ids += restriction.ids.size();
    at += restriction.at.size();
  }
  ops::readLogits(z, options_.temperature, options_.truncation, tables_.from(first),
                  [&](const auto& op) { device_->run(op); });
}

void States::checkRows(const std::vector<int32_t>& guess, std::vector<Failure>& failures) {
  for (std::size_t at = 0; at < extents_.positions(); ++at) {
    const std::size_t particle = at / extents_.length;
    if (guess[at] >= 0 || stateOf_[particle] < 0) continue;
    const bool isNothing = guess[at] == -1 - static_cast<int32_t>(kernels::RowFault::nothingLeft);
    const auto error = [&](std::size_t p) {
      const std::string where = "particle " + std::to_string(p % static_cast<std::size_t>(layout_.perImage)) +
                                " at position " + std::to_string(at % extents_.length);
      return isNothing
                 ? Error("NOTHING_LEFT", "every token is suppressed for " + where +
                                             ": ban less, or see why the model gave −inf to what is left")
                 : Error("INVALID_LOGITS", "the dLLM gave NaN or +inf logits for " + where +
                                               ": check the model's export (float16 overflow is the usual cause)");
    };
    failState(stateOf_[particle], error, failures);
  }
}

void States::follow(const int32_t* ancestors) {
  device_->run(ops::Gather{.layout = layout_,
                           .ancestors = ancestors,
                           .from = arrays_.stateOf.data(),
                           .to = arrays_.spareStateOf.data(),
                           .rowBytes = sizeof(int32_t)});
  std::swap(arrays_.stateOf, arrays_.spareStateOf);
}

Logits States::logits(int first, int states) {
  return {logits_, logitsType_,    dllm_.vocab, rows_.rowOf.data() + static_cast<int64_t>(first) * layout_.length,
          states,  layout_.length, dllm_.vocab};
}

std::size_t States::bytes() {
  return binding_.bytes() + tables_.bytes() + heldBytes(rows_, extents_) + heldBytes(arrays_, extents_);
}

}  // namespace fkinv
