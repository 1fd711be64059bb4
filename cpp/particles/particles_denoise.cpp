// Steps 1 and 2 of the particle system: the forward, and the one read of its logits.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>
#include <utility>

#include "particles.h"

namespace fkinv {
Particles::DllmBuffers Particles::bindDllm(int64_t states) {
  const auto float32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, int64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  DllmBuffers bound = {};
  bound.ids = static_cast<int64_t*>(dllmBinding_.input(dllm_.ids, int64, states, {width()}));
  if (!dllm_.condition.empty()) {
    bound.condition = static_cast<float*>(dllmBinding_.input(dllm_.condition, float32, states, conditionShape()));
  }
  bound.logits = dllmBinding_.output(dllm_.logits, dllm_.session->typeOf(dllm_.logits), states, {width(), dllm_.vocab});
  return bound;
}

// Every image with a particle in the state; message(its first such particle) says what is wrong. An image that comes to
// it later runs it anew, and is told the same.
template <class Message>
void Particles::failState(int32_t state, Message message, std::vector<Failure>& failures) {
  std::erase_if(placeOf_, [&](const auto& entry) { return entry.second == state; });
  for (std::size_t p = 0; p < hostStateOf_.size(); ++p) {
    if (hostStateOf_[p] == state) fail(static_cast<int>(p) / layout_.perImage, message(static_cast<int>(p)), failures);
  }
}

Particles::Denoised Particles::denoise(CancelToken& cancel) {
  Denoised result = {};
  {
    const Timer timer(*this, kDenoise);
    if (hostStateOf_.empty()) {
      averageReferences(result.failures);
      checkConditions(result.failures);
    }
    result.states = findStates();
    runDllm(cancel, result.failures);
    result.forwards = static_cast<int>(fresh_.size());
  }
  const Timer timer(*this, kPass);
  readLogits();
  return result;
}

// Before the first forward, as checkConditions(): what a dLLM makes of a broken embedding would be blamed on the dLLM.
void Particles::averageReferences(std::vector<Failure>& failures) {
  const Layout perImage = {layout_.images, 1, 1};
  std::vector<int32_t> itself(references_.size());
  std::iota(itself.begin(), itself.end(), 0);
  for (std::size_t b = 0; b < references_.size(); ++b) {
    std::vector<const float*> embeddings;
    for (const auto& embedding : references_[b]) embeddings.push_back(embedding->data());
    device_->average(embeddings, embedSize_, imageEmbeds_.data() + b * static_cast<std::size_t>(embedSize_));
    copies_[Copied::setUp].toDevice += static_cast<int64_t>(embeddings.size() * sizeof(const float*));
  }
  const Array<int32_t> images = onDevice(itself);
  device_->cosine(perImage, imageEmbeds_.data(), images.data(), imageEmbeds_.data(), embedSize_, ess_.data());
  const std::vector<double> withItself = download(Copied::setUp, ess_);
  for (std::size_t b = 0; b < withItself.size(); ++b) {
    if (std::isfinite(withItself[b])) continue;
    fail(static_cast<int>(b),
         Error("INVALID_EMBEDDING",
               references_[b].size() > 1
                   ? "CLIP's embeddings of the images cancel out, or one is zero or not finite"
                   : "CLIP's embedding of an image is zero or not finite: check the model's export"),
         failures);
  }
}

void Particles::checkConditions(std::vector<Failure>& failures) {
  if (conditions_.empty()) return;
  const Array<int32_t> itself = onDevice(std::vector<int32_t>{0});
  for (int b = 0; b < layout_.images; ++b) {
    device_->cosine({1, 1, 1}, conditionOf(b), itself.data(), conditionOf(b), conditionSize(), ess_.data() + b);
  }
  const std::vector<double> withItself = download(Copied::setUp, ess_);
  for (std::size_t b = 0; b < withItself.size(); ++b) {
    if (std::isfinite(withItself[b])) continue;
    fail(static_cast<int>(b),
         Error("INVALID_EMBEDDING",
               "what the dLLM's own vision graph gives for an image is zero or not finite: check "
               "the model's export"),
         failures);
  }
}

std::vector<int64_t> Particles::conditionShape() const {
  return dllm_.conditionShape.empty() ? std::vector<int64_t>{embedSize_} : dllm_.conditionShape;
}

int Particles::conditionSize() const {
  const std::vector<int64_t> shape = conditionShape();
  return static_cast<int>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
}

const float* Particles::conditionOf(int image) const {
  const auto b = static_cast<std::size_t>(image);
  return conditions_.empty() ? imageEmbeds_.data() + b * static_cast<std::size_t>(embedSize_) : conditions_[b]->data();
}

// What particles of the same state have in common; empty where the image failed.
std::vector<std::string> Particles::stateKeys() const {
  const auto length = static_cast<std::size_t>(layout_.length);
  const auto first = options_.prefixes.begin();
  const bool isOfImage = !dllm_.condition.empty() || !std::equal(first + prefix_, options_.prefixes.end(), first);
  std::vector<std::string> keys(static_cast<std::size_t>(layout_.particles()));
  for (std::size_t p = 0; p < keys.size(); ++p) {
    const std::size_t image = p / static_cast<std::size_t>(layout_.perImage);
    if (!live_[image]) continue;
    keys[p].assign(reinterpret_cast<const char*>(&hostTokens_[p * length]), length * sizeof(int32_t));
    if (isOfImage) keys[p] += std::to_string(image);
  }
  return keys;
}

// Particles with equal tokens share a state; with an image condition or a prefix of its own, only those of the same
// image do. A state of the step before stays where it is, the others get what is free.
std::vector<int32_t> Particles::findStates() {
  const std::vector<std::string> keys = stateKeys();
  const auto before = std::exchange(placeOf_, {});
  std::vector<uint8_t> isTaken(keys.size());
  for (const std::string& key : keys) {
    const auto kept = before.find(key);
    if (kept == before.end()) continue;
    placeOf_.insert(*kept);
    isTaken[static_cast<std::size_t>(kept->second)] = 1;
  }
  hostStateOf_.assign(keys.size(), -1);
  fresh_.clear();
  auto next = isTaken.begin();
  for (std::size_t p = 0; p < keys.size(); ++p) {
    if (keys[p].empty()) continue;
    next = std::find(next, isTaken.end(), uint8_t{0});
    const auto [at, isNew] = placeOf_.emplace(keys[p], static_cast<int32_t>(next - isTaken.begin()));
    if (isNew) {
      fresh_.push_back({at->second, static_cast<int>(p)});
      ++next;
    }
    hostStateOf_[p] = at->second;
  }
  std::vector<int32_t> states = hostStateOf_, statesOfImage;
  std::replace(states.begin(), states.end(), -1, 0);  // of an image that failed: read, and not used
  upload(Copied::tokenIds, stateOf_, states);
  for (auto state = hostStateOf_.begin(); state != hostStateOf_.end(); state += layout_.perImage) {
    std::set<int32_t> distinct(state, state + layout_.perImage);
    distinct.erase(-1);
    statesOfImage.push_back(static_cast<int32_t>(distinct.size()));
  }
  return statesOfImage;
}

void Particles::runDllm(CancelToken& cancel, std::vector<Failure>& failures) {
  const auto N = static_cast<int64_t>(layout_.length);
  const auto rowIds = static_cast<std::size_t>(width()), conditionFloats = static_cast<std::size_t>(conditionSize());
  std::vector<int64_t> states;
  for (const auto& [state, p] : fresh_) {
    const auto at = static_cast<std::size_t>(state);
    const auto prefix = options_.prefixes.begin() + static_cast<int64_t>(p / layout_.perImage) * prefix_;
    std::vector<int64_t> ids(prefix, prefix + prefix_);
    ids.insert(ids.end(), hostTokens_.begin() + p * N, hostTokens_.begin() + (p + 1) * N);
    ids.insert(ids.end(), dllm_.suffix.begin(), dllm_.suffix.end());
    upload(Copied::tokenIds, dllmBuffers_.ids + at * rowIds, ids.data(), ids.size() * sizeof(int64_t));
    if (dllmBuffers_.condition != nullptr) {
      device_->copy(dllmBuffers_.condition + at * conditionFloats, conditionOf(p / layout_.perImage),
                    conditionFloats * sizeof(float));
    }
    states.push_back(state);
  }
  for (const ort::Binding::Failure& failed : dllmBinding_.run(states, cancel)) {
    failState(static_cast<int32_t>(failed.row), [&](int) { return failed.error; }, failures);
  }
}

// Of the fresh states, those that stand one after the other at once.
void Particles::readLogits() {
  for (std::size_t i = 0, end; i < fresh_.size(); i = end) {
    const int first = fresh_[i].state;
    for (end = i + 1; end < fresh_.size() && fresh_[end].state == first + static_cast<int>(end - i);) ++end;
    readLogits(first, static_cast<int>(end - i));
  }
}

void Particles::readLogits(int first, int states) {
  const Logits z = logits(first, states);
  device_->suppress(z, suppressed_.span(), {});
  for (const auto& [ids, at] : restrictions_) device_->suppress(z, ids.span(), at.span());
  device_->pass(z, options_.temperature, tileTable(first));
  device_->merge(z, options_.temperature, tileTable(first), rowStats(first));
  if (options_.temperature != 0 && !options_.truncation.keepsAll()) {
    device_->truncate(z, options_.temperature, options_.truncation, tileTable(first), rowStats(first));
  }
}

// Guess 0 tells of the rows with a fault (Device::exclude).
void Particles::checkRows(const std::vector<int32_t>& guess, std::vector<Failure>& failures) {
  const auto length = static_cast<std::size_t>(layout_.length);
  for (std::size_t at = 0; at < hostTokens_.size(); ++at) {
    const auto particle = at / length;
    if (guess[at] >= 0 || hostStateOf_[particle] < 0) continue;
    const bool isNothing = guess[at] == -1 - static_cast<int32_t>(kernels::RowFault::nothingLeft);
    const auto error = [&](int of) {
      const std::string where =
          "particle " + std::to_string(of % layout_.perImage) + " at position " + std::to_string(at % length);
      return isNothing
                 ? Error("NOTHING_LEFT", "every token is suppressed for " + where +
                                             ": ban less, or see why the model gave −inf to what is left")
                 : Error("INVALID_LOGITS", "the dLLM gave NaN or +inf logits for " + where +
                                               ": check the model's export (float16 overflow is the usual cause)");
    };
    failState(hostStateOf_[particle], error, failures);
  }
}

}  // namespace fkinv
