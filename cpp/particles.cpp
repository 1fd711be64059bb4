#include "particles.h"

#include <cmath>
#include <numeric>
#include <set>
#include <unordered_map>

#include "error.h"

namespace fkinv {
namespace {

using Clock = std::chrono::steady_clock;

std::size_t times(std::initializer_list<int> extents) {
  std::size_t n = 1;
  for (int extent : extents) n *= static_cast<std::size_t>(extent);
  return n;
}

}  // namespace

// Adds its lifetime to a stage.
class Particles::Timer {
 public:
  Timer(Particles& particles, StageId id) : stage_(particles.stages_[id]) {}
  ~Timer() {
    stage_.milliseconds += std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
    ++stage_.calls;
  }

 private:
  Stage& stage_;
  const Clock::time_point start_ = Clock::now();
};

Particles::Particles(std::shared_ptr<Device> device, const DllmGraph& dllm, const TextGraph& text,
                     std::shared_ptr<const Array<float>> imageEmbeds, int embedSize, ParticleOptions options)
    : device_(std::move(device)),
      dllm_(dllm),
      text_(text),
      imageEmbeds_(std::move(imageEmbeds)),
      embedSize_(embedSize),
      options_(std::move(options)),
      layout_(options_.layout),
      dllmBinding_(dllm.session, device_),
      textBinding_(text.session, device_),
      stages_{{"denoise"}, {"pass"}, {"guess"}, {"encodeText"}, {"reward"}, {"resample"}, {"propose"}},
      seeds_(device_, options_.seeds),
      suppressed_(device_, options_.suppressed),
      stops_(device_, options_.stops) {
  const int P = layout_.particles(), N = layout_.length;
  const int tiles = (dllm.vocab + kernels::kTile - 1) / kernels::kTile;
  const auto fit = [&](auto& array, std::size_t size) { array = std::decay_t<decltype(array)>(device_, size); };

  for (auto* tokens : {&tokens_, &guess_, &spareTokens_}) fit(*tokens, times({P, N}));
  for (auto* one : {&stateOf_, &spareStateOf_, &ancestors_}) fit(*one, times({P}));
  for (auto* marks : {&wanted_, &counted_}) fit(*marks, times({P, N}));
  const std::vector<double> zeros(times({P}), 0.0);
  for (auto* values : {&clip_, &edit_, &previousClip_, &previousEdit_, &logWeights_, &logProb_, &spare_}) {
    *values = Array<double>(device_, zeros);
  }
  fit(ess_, times({layout_.images}));
  tokens_.upload(std::vector<int32_t>(times({P, N}), options_.maskId));

  std::vector<int64_t> rowOf(times({P, N}));
  std::iota(rowOf.begin(), rowOf.end(), 0);
  rowOf_ = Array<int64_t>(device_, rowOf);
  for (auto* values : {&tileExponent_, &tileMass_, &tileMoment_, &tileTemperedMass_})
    fit(*values, times({P, N, tiles}));
  fit(tileMax_, times({P, N, tiles}));
  fit(tileGram_, times({P, tiles, N * (N + 1) / 2}));
  for (auto* values : {&rowMax_, &rowEntropy_}) fit(*values, times({P, N}));
  for (auto* values : {&rowExponent_, &rowMass_, &rowTemperedMass_}) fit(*values, times({P, N}));
  fit(rowFault_, times({P, N}));
  fit(gram_, times({P, N, N}));
  bindDllm(P);  // the most a step can need, so that no step allocates
  bindText(P, text_.maxWidth);
}

std::vector<int32_t> Particles::denoise(CancelToken& cancel) {
  std::vector<int32_t> states;
  {
    const Timer timer(*this, kDenoise);
    if (firstOf_.empty()) checkImages();
    states = findStates();
    runDllm(cancel);
  }
  const Timer timer(*this, kPass);
  readLogits();
  checkRows();
  return states;
}

// Before the first forward: what a dLLM makes of a broken image embedding would be blamed on the dLLM.
void Particles::checkImages() {
  std::vector<int32_t> imageOf(static_cast<std::size_t>(layout_.particles()));
  for (std::size_t p = 0; p < imageOf.size(); ++p) imageOf[p] = static_cast<int32_t>(p) / layout_.perImage;
  const Array<int32_t> images(device_, imageOf);
  device_->cosine(layout_, imageEmbeds_->data(), images.data(), imageEmbeds_->data(), embedSize_, clip_.data());
  for (double withItself : clip_.download()) {
    if (std::isfinite(withItself)) continue;
    throw Error("INVALID_EMBEDDING", "CLIP's embedding of an image is zero or not finite: check the model's export");
  }
}

// Particles with equal tokens share a state; with an image condition, only those of the same image do.
std::vector<int32_t> Particles::findStates() {
  const std::vector<int32_t> tokens = tokens_.download();
  const auto length = static_cast<std::size_t>(layout_.length);
  std::vector<int32_t> stateOf(static_cast<std::size_t>(layout_.particles()));
  std::unordered_map<std::string, int32_t> known;
  firstOf_.clear();
  for (std::size_t p = 0; p < stateOf.size(); ++p) {
    std::string key(reinterpret_cast<const char*>(&tokens[p * length]), length * sizeof(int32_t));
    if (!dllm_.condition.empty()) key += std::to_string(static_cast<int>(p) / layout_.perImage);
    const auto [at, isNew] = known.emplace(std::move(key), static_cast<int32_t>(firstOf_.size()));
    if (isNew) firstOf_.push_back(static_cast<int>(p));
    stateOf[p] = at->second;
  }
  stateOf_.upload(stateOf);
  std::vector<int32_t> statesOfImage;
  for (auto first = stateOf.begin(); first != stateOf.end(); first += layout_.perImage) {
    statesOfImage.push_back(static_cast<int32_t>(std::set<int32_t>(first, first + layout_.perImage).size()));
  }
  return statesOfImage;
}

Particles::DllmBuffers Particles::bindDllm(int64_t states) {
  const bool conditioned = !dllm_.condition.empty();
  return {static_cast<int64_t*>(
              dllmBinding_.input(dllm_.ids, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, states, {layout_.length})),
          conditioned ? static_cast<float*>(dllmBinding_.input(dllm_.condition, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                                               states, {embedSize_}))
                      : nullptr,
          static_cast<float*>(dllmBinding_.output(dllm_.logits, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, states,
                                                  {layout_.length, dllm_.vocab}))};
}

Particles::TextBuffers Particles::bindText(int64_t texts, int64_t width) {
  return {static_cast<int64_t*>(textBinding_.input(text_.ids, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, texts, {width})),
          static_cast<float*>(
              textBinding_.output(text_.embeddings, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, texts, {embedSize_}))};
}

void Particles::runDllm(CancelToken& cancel) {
  const auto states = static_cast<int64_t>(firstOf_.size());
  const int64_t N = layout_.length;
  const std::vector<int32_t> tokens = tokens_.download();
  std::vector<int64_t> ids;
  for (int p : firstOf_) ids.insert(ids.end(), tokens.begin() + p * N, tokens.begin() + (p + 1) * N);
  DllmBuffers bound = bindDllm(states);
  device_->upload(bound.ids, ids.data(), ids.size() * sizeof(int64_t));
  if (bound.condition != nullptr) {
    for (int p : firstOf_) {
      device_->copy(bound.condition, imageEmbeds_->data() + static_cast<int64_t>(p / layout_.perImage) * embedSize_,
                    static_cast<std::size_t>(embedSize_) * sizeof(float));
      bound.condition += embedSize_;
    }
  }
  dllmBinding_.run(states, cancel);
  logits_ = {bound.logits, dllm_.vocab, rowOf_.data(), static_cast<int>(states), layout_.length, dllm_.vocab};
}

void Particles::readLogits() {
  device_->suppress(logits_, suppressed_.span(), stops_.span(), options_.minLength);
  device_->pass(logits_, options_.temperature, tileTable());
  device_->merge(logits_, options_.temperature, tileTable(), rowStats());
}

void Particles::checkRows() const {
  const auto faults = rowFault_.download(0, static_cast<std::size_t>(logits_.rows()));
  for (std::size_t row = 0; row < faults.size(); ++row) {
    if (faults[row] == kernels::RowFault::notFinite) {
      throw Error("INVALID_LOGITS", "the dLLM gave NaN or +inf logits for " + describe(row) +
                                        ": check the model's export (float16 overflow is the usual cause)");
    }
    if (faults[row] == kernels::RowFault::nothingLeft) {
      throw Error("NOTHING_LEFT", "every token is suppressed for " + describe(row) +
                                      ": the model gave −inf to all that is allowed there");
    }
  }
}

std::string Particles::describe(std::size_t row) const {
  const auto length = static_cast<std::size_t>(layout_.length);
  const int particle = firstOf_[row / length];
  return "particle " + std::to_string(particle % layout_.perImage) + " of image " +
         std::to_string(particle / layout_.perImage) + " at position " + std::to_string(row % length);
}

std::vector<int32_t> Particles::guess(int step) {
  const Timer timer(*this, kGuess);
  device_->copy(guess_.data(), tokens_.data(), tokens_.bytes());
  device_->masked(layout_, options_.maskId, tokens_.data(), wanted_.data());
  device_->draw(logits_, options_.temperature, tileTable(), rowStats(), layout_,
                {stateOf_.data(), wanted_.data(), seeds_.data(), static_cast<uint32_t>(step), kernels::Purpose::guess,
                 guess_.data()});
  return guess_.download();
}

Particles::Rewards Particles::reward(const std::vector<int64_t>& ids, int texts, const std::vector<int32_t>& textOf,
                                     CancelToken& cancel) {
  const float* embeddings;
  {
    const Timer timer(*this, kEncodeText);
    const TextBuffers bound = bindText(texts, static_cast<int64_t>(ids.size()) / texts);
    device_->upload(bound.ids, ids.data(), ids.size() * sizeof(int64_t));
    textBinding_.run(texts, cancel);
    embeddings = bound.embeddings;
  }
  const Timer timer(*this, kReward);
  const Array<int32_t> texted(device_, textOf);
  device_->cosine(layout_, embeddings, texted.data(), imageEmbeds_->data(), embedSize_, clip_.data());
  device_->count(layout_, guess_.data(), stops_.span(), options_.countAll, counted_.data());
  device_->coupling(layout_, gram_.data(), stateOf_.data(), counted_.data(), edit_.data());
  Rewards rewards = {clip_.download(), edit_.download()};
  for (std::size_t p = 0; p < rewards.clip.size(); ++p) {
    if (std::isfinite(rewards.clip[p])) continue;
    throw Error("INVALID_EMBEDDING", "CLIP's embedding of particle " + std::to_string(p) +
                                         "'s text is zero or not finite: check the model's export");
  }
  return rewards;
}

Particles::Weights Particles::weigh() {
  const Timer timer(*this, kResample);
  device_->weigh(layout_, options_.lambdaClip, options_.lambdaEdit, clip_.data(), edit_.data(), previousClip_.data(),
                 previousEdit_.data(), logWeights_.data());
  std::swap(clip_, previousClip_);
  std::swap(edit_, previousEdit_);
  device_->effectiveSampleSize(layout_, logWeights_.data(), ess_.data());
  Weights weights = {logWeights_.download(), ess_.download()};
  for (std::size_t b = 0; b < weights.ess.size(); ++b) {
    if (std::isfinite(weights.ess[b])) continue;
    throw Error("DEGENERATE_WEIGHTS", "no particle of image " + std::to_string(b) +
                                          " has a finite weight: lambdaClip or lambdaEdit may be too large");
  }
  return weights;
}

template <class T>
void Particles::follow(Array<T>& values, Array<T>& spare) {
  const std::size_t rowBytes = values.bytes() / static_cast<std::size_t>(layout_.particles());
  device_->gather(layout_, ancestors_.data(), values.data(), spare.data(), rowBytes);
  std::swap(values, spare);
}

std::vector<int32_t> Particles::resample(int step) {
  const Timer timer(*this, kResample);
  device_->resample(layout_, kernels::Scheme::multinomial, seeds_.data(), static_cast<uint32_t>(step),
                    logWeights_.data(), ancestors_.data());
  follow(tokens_, spareTokens_);
  follow(stateOf_, spareStateOf_);
  for (auto* values : {&previousClip_, &previousEdit_, &logProb_}) follow(*values, spare_);
  logWeights_.upload(std::vector<double>(logWeights_.size(), 0.0));
  return ancestors_.download();
}

void Particles::propose(int step) {
  const Timer timer(*this, kPropose);
  device_->masked(layout_, options_.maskId, tokens_.data(), wanted_.data());
  device_->open(layout_, seeds_.data(), step, options_.steps, wanted_.data());
  device_->draw(logits_, options_.temperature, tileTable(), rowStats(), layout_,
                {stateOf_.data(), wanted_.data(), seeds_.data(), static_cast<uint32_t>(step),
                 kernels::Purpose::proposal, tokens_.data(), logProb_.data(), logWeights_.data()});
}

Particles::Final Particles::final() const { return {tokens_.download(), logProb_.download()}; }

Particles::Similarity Particles::similarity(int particle) const {
  const auto p = static_cast<std::size_t>(particle), length = static_cast<std::size_t>(layout_.length);
  const auto state = static_cast<std::size_t>(stateOf_.download(p, 1)[0]);
  Similarity s = {gram_.download(state * length * length, length * length), counted_.download(p * length, length), {}};
  s.coupling = kernels::coupling(s.gram.data(), s.counted.data(), layout_.length);
  return s;
}

std::size_t Particles::bytes() const {
  return dllmBinding_.bytes() + textBinding_.bytes() + tileGram_.bytes() + gram_.bytes() + 4 * tileMass_.bytes() +
         tileMax_.bytes();
}

TileTable Particles::tileTable() {
  return {tileMax_.data(),    tileExponent_.data(),     tileMass_.data(),
          tileMoment_.data(), tileTemperedMass_.data(), tileGram_.data()};
}

RowStats Particles::rowStats() {
  return {rowMax_.data(),     rowExponent_.data(), rowMass_.data(), rowTemperedMass_.data(),
          rowEntropy_.data(), rowFault_.data(),    gram_.data()};
}

}  // namespace fkinv
