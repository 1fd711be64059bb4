#include "states.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "ops/read_logits.h"

namespace fkinv {
namespace {

constexpr auto kFloat32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;

kernels::LogitsType logitsTypeOf(ONNXTensorElementDataType type) {
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16) return kernels::LogitsType::float16;
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16) return kernels::LogitsType::bfloat16;
  return kernels::LogitsType::float32;
}

}  // namespace

std::vector<GraphTensor> tensorsOf(const DllmGraph& dllm, int embedSize, const ParticleOptions& options) {
  const int64_t width = options.prefix() + options.layout.length + static_cast<int64_t>(dllm.suffix.size());
  const auto typeOf = [&](const std::string& name) { return dllm.session->typeOf(name); };
  std::vector<GraphTensor> tensors = {{dllm.ids, kInt64, {width}},
                                      {dllm.logits, typeOf(dllm.logits), {width, dllm.vocab}}};
  for (const std::string& name : {dllm.attentionMask, dllm.positionIds}) {
    if (!name.empty()) tensors.push_back({name, kInt64, {width}});
  }
  if (!dllm.timestep.empty()) tensors.push_back({dllm.timestep, typeOf(dllm.timestep), {}});
  if (!dllm.condition.empty()) {
    const std::vector<int64_t> ofClip = {embedSize};
    tensors.push_back({dllm.condition, kFloat32, dllm.conditionShape.empty() ? ofClip : dllm.conditionShape});
  }
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
    for (int i = 0; i < layout_.length; ++i) rowOf.push_back(q * width() + options_.prefix() + i - dllm_.shift);
  }
  transfer_.upload(Copied::setUp, rows_.rowOf, rowOf);
}

// Room for as many states as a step can have, with the inputs that are the same in every run.
void States::bind() {
  const int64_t states = layout_.particles();
  for (const GraphTensor& tensor : tensorsOf(dllm_, static_cast<int>(extents_.embedSize), options_)) {
    if (tensor.name == dllm_.logits) {
      logits_ = binding_.output(tensor.name, tensor.type, states, tensor.rowShape);
      continue;
    }
    void* const memory = binding_.input(tensor.name, tensor.type, states, tensor.rowShape);
    if (tensor.name == dllm_.ids) ids_ = static_cast<int64_t*>(memory);
    if (tensor.name == dllm_.condition) {
      condition_ = static_cast<float*>(memory);
      conditionSize_ = static_cast<int>(tensor.rowBytes() / sizeof(float));
    }
    if (tensor.name == dllm_.timestep) {
      const std::vector<char> zeros(extents_.particles * tensor.rowBytes(), 0);
      transfer_.upload(Copied::setUp, memory, zeros.data(), zeros.size());
    }
  }
  std::vector<int64_t> places(static_cast<std::size_t>(width()));
  std::iota(places.begin(), places.end(), 0);
  fill(dllm_.attentionMask, std::vector<int64_t>(places.size(), 1));
  fill(dllm_.positionIds, places);
}

// Gives every state's row of an input the same ids.
void States::fill(const std::string& name, const std::vector<int64_t>& row) {
  if (name.empty()) return;
  std::vector<int64_t> all;
  for (std::size_t r = 0; r < extents_.particles; ++r) all.insert(all.end(), row.begin(), row.end());
  void* const memory = binding_.input(name, kInt64, layout_.particles(), {static_cast<int64_t>(row.size())});
  transfer_.upload(Copied::setUp, memory, all.data(), all.size() * sizeof(int64_t));
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
  const auto rowIds = static_cast<std::size_t>(width()), conditionFloats = static_cast<std::size_t>(conditionSize_);
  std::vector<int64_t> states;
  for (const auto& [state, particle] : fresh_) {
    const auto at = static_cast<std::size_t>(state);
    const auto p = static_cast<int64_t>(particle);
    const int image = images_.imageOf(particle);
    const auto prefix = options_.prefixes.begin() + int64_t{image} * options_.prefix();
    std::vector<int64_t> ids(prefix, prefix + options_.prefix());
    ids.insert(ids.end(), tokens.begin() + p * N, tokens.begin() + (p + 1) * N);
    ids.insert(ids.end(), dllm_.suffix.begin(), dllm_.suffix.end());
    transfer_.upload(Copied::tokenIds, ids_ + at * rowIds, ids.data(), ids.size() * sizeof(int64_t));
    if (condition_ != nullptr) {
      device_->copy(condition_ + at * conditionFloats, images_.conditionOf(image), conditionFloats * sizeof(float));
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
