#include "particles.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

namespace fkinv {
namespace {

std::size_t times(std::initializer_list<int> extents) {
  std::size_t n = 1;
  for (int extent : extents) n *= static_cast<std::size_t>(extent);
  return n;
}

kernels::LogitsType logitsType(ONNXTensorElementDataType type) {
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16) return kernels::LogitsType::float16;
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16) return kernels::LogitsType::bfloat16;
  return kernels::LogitsType::float32;
}

}  // namespace

Particles::Particles(std::shared_ptr<Device> device, const DllmGraph& dllm, const TextGraph& text,
                     std::vector<Reference> references, int embedSize, ParticleOptions options,
                     std::vector<Features> conditions)
    : device_(std::move(device)),
      dllm_(dllm),
      text_(text),
      references_(std::move(references)),
      conditions_(std::move(conditions)),
      embedSize_(embedSize),
      options_(std::move(options)),
      layout_(options_.layout),
      prefix_(static_cast<int>(options_.prefixes.size()) / layout_.images),
      dllmBinding_(dllm.session, device_, "dLLM"),
      textBinding_(text.session, device_, "CLIP text"),
      stages_{{"denoise"}, {"pass"}, {"guess"}, {"encodeText"}, {"reward"}, {"resample"}, {"propose"}},
      imageEmbeds_(device_, times({layout_.images, embedSize})),
      live_(times({layout_.images}), 1),
      liveOnDevice_(device_, times({layout_.images})),
      seeds_(onDevice(options_.seeds)),
      suppressed_(onDevice(options_.suppressed)),
      stops_(onDevice(options_.stops)) {
  const int P = layout_.particles(), N = layout_.length, G = options_.guesses;
  const int tiles = (dllm.vocab + kernels::kTile - 1) / kernels::kTile;
  const auto fit = [&](auto& array, std::size_t size) { array = std::decay_t<decltype(array)>(device_, size); };
  for (const Restriction& r : options_.restrictions) {
    restrictions_.emplace_back(onDevice(r.ids), onDevice(r.at));
  }

  for (auto* tokens : {&tokens_, &spareTokens_, &drawn_}) fit(*tokens, times({P, N}));
  fit(guess_, times({G, P, N}));
  for (auto* one : {&stateOf_, &spareStateOf_, &ancestors_}) fit(*one, times({P}));
  for (auto* marks : {&wanted_, &opened_}) fit(*marks, times({P, N}));
  fit(counted_, times({G, P, N}));
  for (auto* values : {&logModel_, &logProposal_, &scores_}) fit(*values, times({P, N}));
  for (auto* values : {&clip_, &edit_}) fit(*values, times({G, P}));
  const std::vector<double> zeros(times({P}), 0.0);
  for (auto* values : {&total_, &previousTotal_, &logWeights_, &logProb_, &spare_}) {
    *values = onDevice(zeros);
  }
  fit(ess_, times({layout_.images}));
  fit(resampled_, times({layout_.images}));
  fit(textOf_, times({G, P}));
  fit(outcome_, clip_.bytes() + edit_.bytes() + logWeights_.bytes() + ess_.bytes() + ancestors_.bytes() +
                    resampled_.bytes() + tokens_.bytes());

  for (auto* values : {&tileMax_, &tileMass_, &tileMoment_, &tileWeight_}) fit(*values, times({P, N, tiles}));
  fit(tileExponent_, times({P, N, tiles}));
  const int chunkTiles = device_->chunkTiles();
  fit(tileGram_, times({P, (tiles + chunkTiles - 1) / chunkTiles, N * (N + 1) / 2}));
  for (auto* values : {&rowMax_, &rowEntropy_, &rowThreshold_}) fit(*values, times({P, N}));
  for (auto* values : {&rowExponent_, &rowMass_, &rowTemperedMass_}) fit(*values, times({P, N}));
  fit(rowFault_, times({P, N}));
  fit(gram_, times({P, N, N}));
  textBuffers_ = bindText();
  fillConstants();
  startTokens();
  placeStates();
}

void Particles::startTokens() {
  for (int p = 0; p < layout_.particles(); ++p) {
    for (int32_t pinned : options_.pinned) hostTokens_.push_back(pinned >= 0 ? pinned : options_.maskId);
  }
  upload(Copied::setUp, tokens_, hostTokens_);
}

// Room for as many states as a step can have. The logits of position i of state q stand behind the prefix, and one row
// earlier where row i predicts i + 1.
void Particles::placeStates() {
  std::vector<int64_t> rowOf;
  for (int64_t q = 0; q < layout_.particles(); ++q) {
    for (int i = 0; i < layout_.length; ++i) rowOf.push_back(q * width() + prefix_ + i - dllm_.shift);
  }
  rowOf_ = onDevice(rowOf);
  dllmBuffers_ = bindDllm(layout_.particles());
  logits_ = logits(0, layout_.particles());
}

// Room for as many texts as a step can have.
Particles::TextBuffers Particles::bindText() {
  const auto float32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, int64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  const int64_t texts = static_cast<int64_t>(options_.guesses) * layout_.particles();
  return {static_cast<int64_t*>(textBinding_.input(text_.ids, int64, texts, {text_.maxWidth})),
          static_cast<float*>(textBinding_.output(text_.embeddings, float32, texts, {embedSize_}))};
}

// Inputs that are the same in every run, for as many rows as a run can have.
void Particles::fillConstants() {
  const auto int64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  const auto fill = [&](ort::Binding& binding, const std::string& name, int64_t rows, const std::vector<int64_t>& row) {
    if (name.empty()) return;
    std::vector<int64_t> all;
    for (int64_t r = 0; r < rows; ++r) all.insert(all.end(), row.begin(), row.end());
    upload(Copied::setUp, binding.input(name, int64, rows, {static_cast<int64_t>(row.size())}), all.data(),
           all.size() * sizeof(int64_t));
  };
  const int64_t states = layout_.particles();
  std::vector<int64_t> places(static_cast<std::size_t>(width()));
  std::iota(places.begin(), places.end(), 0);
  fill(dllmBinding_, dllm_.attentionMask, states, std::vector<int64_t>(places.size(), 1));
  fill(dllmBinding_, dllm_.positionIds, states, places);
  fill(textBinding_, text_.attentionMask, states * options_.guesses,
       std::vector<int64_t>(static_cast<std::size_t>(text_.maxWidth), 1));
  if (dllm_.timestep.empty()) return;
  const auto type = dllm_.session->typeOf(dllm_.timestep);
  const std::vector<char> zeros(static_cast<std::size_t>(states) * ort::typeBytes(type), 0);
  upload(Copied::setUp, dllmBinding_.input(dllm_.timestep, type, states, {}), zeros.data(), zeros.size());
}

void Particles::upload(Copied why, void* to, const void* host, std::size_t bytes) {
  device_->upload(to, host, bytes);
  copies_[why].toDevice += static_cast<int64_t>(bytes);
}

template <class T>
void Particles::upload(Copied why, Array<T>& to, const std::vector<T>& host) {
  upload(why, to.data(), host.data(), host.size() * sizeof(T));
}

template <class T>
Array<T> Particles::onDevice(const std::vector<T>& host) {
  Array<T> array(device_, host.size());
  upload(Copied::setUp, array, host);
  return array;
}

template <class T>
std::vector<T> Particles::download(Copied why, const Array<T>& from, std::size_t first, std::size_t count) {
  copies_[why].toHost += static_cast<int64_t>(count * sizeof(T));
  ++copies_.waits;
  return from.download(first, count);
}

template <class T>
std::vector<T> Particles::download(Copied why, const Array<T>& from) {
  return download(why, from, 0, from.size());
}

// What denoising asks for.
template std::vector<double> Particles::download(Copied, const Array<double>&);
template Array<int32_t> Particles::onDevice(const std::vector<int32_t>&);
template void Particles::upload(Copied, Array<int32_t>&, const std::vector<int32_t>&);

void Particles::uploadLive() {
  if (known_ == live_) return;
  upload(Copied::setUp, liveOnDevice_, live_);
  known_ = live_;
}

void Particles::retire(int image) { live_[static_cast<std::size_t>(image)] = 0; }

void Particles::fail(int image, Error error, std::vector<Failure>& failures) {
  if (!live_[static_cast<std::size_t>(image)]) return;
  retire(image);
  failures.push_back({image, std::move(error)});
}

Draws Particles::draws(int step, kernels::Purpose purpose, int guess, int32_t* tokens) {
  return {stateOf_.data(), wanted_.data(),
          seeds_.data(),   static_cast<uint32_t>(step),
          purpose,         static_cast<uint32_t>(guess),
          tokens};
}

Particles::Guesses Particles::guess(int step) {
  Guesses guesses = {drawGuesses(step), {}};
  couple();  // while the host makes texts of them
  checkRows(guesses.tokens, guesses.failures);
  return guesses;
}

std::vector<int32_t> Particles::drawGuesses(int step) {
  const Timer timer(*this, kGuess);
  uploadLive();
  device_->masked(layout_, liveOnDevice_.data(), options_.maskId, tokens_.data(), 0, layout_.length, wanted_.data());
  for (int g = 0; g < options_.guesses; ++g) {
    int32_t* guess = guess_.data() + static_cast<std::size_t>(g) * tokens_.size();
    device_->copy(guess, tokens_.data(), tokens_.bytes());
    if (g == 0) device_->exclude(layout_, stateOf_.data(), rowFault_.data(), wanted_.data(), guess);
    device_->draw(logits_, options_.temperature, tileTable(), rowStats(), layout_,
                  draws(step, kernels::Purpose::guess, g, guess));
  }
  return download(Copied::tokenIds, guess_);
}

// r_edit of the guesses, which needs no text.
void Particles::couple() {
  const Timer timer(*this, kReward);
  const auto P = static_cast<std::size_t>(layout_.particles()), N = static_cast<std::size_t>(layout_.length);
  for (std::size_t g = 0; g < static_cast<std::size_t>(options_.guesses); ++g) {
    uint8_t* counted = counted_.data() + g * P * N;
    device_->count(layout_, guess_.data() + g * P * N, stops_.span(), options_.countAll, counted);
    device_->coupling(layout_, gram_.data(), stateOf_.data(), counted, edit_.data() + g * P);
  }
  isCoupled_ = true;
}

Particles::Outcome Particles::advance(int step, const Texts& fresh, const std::vector<int32_t>& placeOf,
                                      CancelToken& cancel) {
  std::vector<Failure> failures;
  encodeTexts(fresh, placeOf, cancel, failures);
  uploadLive();
  reward(placeOf);
  weigh();
  const bool isLast = step == options_.steps;
  if (!isLast) {
    resample(step);
    propose(step);
  }
  Outcome outcome = takeOutcome(isLast);
  Rewards& rewards = outcome.rewards;
  const auto P = static_cast<std::size_t>(layout_.particles());
  for (std::size_t i = 0; i < rewards.clip.size(); ++i) {
    if (std::isfinite(rewards.clip[i])) continue;
    const std::string slot = std::to_string(i % P % static_cast<std::size_t>(layout_.perImage));
    fail(static_cast<int>(i % P) / layout_.perImage,
         Error("INVALID_EMBEDDING",
               "CLIP's embedding of particle " + slot + "'s text is zero or not finite: check the model's export"),
         failures);
  }
  for (std::size_t b = 0; b < rewards.ess.size(); ++b) {
    if (std::isfinite(rewards.ess[b])) continue;
    fail(static_cast<int>(b),
         Error("DEGENERATE_WEIGHTS", "no particle has a finite weight: lambdaClip or lambdaEdit may be too large"),
         failures);
  }
  rewards.failures = std::move(failures);
  return outcome;
}

void Particles::encodeTexts(const Texts& fresh, const std::vector<int32_t>& placeOf, CancelToken& cancel,
                            std::vector<Failure>& failures) {
  const Timer timer(*this, kEncodeText);
  const int64_t* from = fresh.ids.data();
  for (std::size_t text = 0; text < fresh.places.size(); ++text) {
    upload(Copied::textIds, textBuffers_.ids + fresh.places[text] * text_.maxWidth, from,
           static_cast<std::size_t>(fresh.widths[text]) * sizeof(int64_t));
    from += fresh.widths[text];
  }
  for (const ort::Binding::Failure& failed : textBinding_.run(fresh.places, cancel, fresh.widths)) {
    for (std::size_t i = 0; i < placeOf.size(); ++i) {
      if (placeOf[i] != failed.row) continue;
      fail(static_cast<int>(i) % layout_.particles() / layout_.perImage, failed.error, failures);
    }
  }
}

void Particles::reward(const std::vector<int32_t>& placeOf) {
  if (!isCoupled_) couple();
  const Timer timer(*this, kReward);
  const auto P = static_cast<std::size_t>(layout_.particles());
  upload(Copied::textIds, textOf_, placeOf);
  for (std::size_t g = 0; g < static_cast<std::size_t>(options_.guesses); ++g) {
    device_->cosine(layout_, textBuffers_.embeddings, textOf_.data() + g * P, imageEmbeds_.data(), embedSize_,
                    clip_.data() + g * P);
  }
  send(clip_);
  send(edit_);
}

void Particles::weigh() {
  const Timer timer(*this, kResample);
  device_->weigh(layout_, options_.guesses, options_.lambdaClip, options_.lambdaEdit, clip_.data(), edit_.data(),
                 previousTotal_.data(), total_.data(), logWeights_.data());
  std::swap(total_, previousTotal_);
  device_->effectiveSampleSize(layout_, logWeights_.data(), ess_.data());
  send(logWeights_);
  send(ess_);
}

template <class T>
void Particles::follow(Array<T>& values, Array<T>& spare) {
  const std::size_t rowBytes = values.bytes() / static_cast<std::size_t>(layout_.particles());
  device_->gather(layout_, ancestors_.data(), values.data(), spare.data(), rowBytes);
  std::swap(values, spare);
}

void Particles::resample(int step) {
  const Timer timer(*this, kResample);
  device_->resample(layout_, options_.scheme, seeds_.data(), static_cast<uint32_t>(step),
                    {liveOnDevice_.data(), ess_.data(), options_.essThreshold}, resampled_.data(), logWeights_.data(),
                    ancestors_.data());
  follow(tokens_, spareTokens_);
  follow(stateOf_, spareStateOf_);
  for (auto* values : {&previousTotal_, &logProb_}) follow(*values, spare_);
  send(ancestors_);
  send(resampled_);
}

Block Particles::blockAt(int step) const {
  const int blocks = (layout_.length + options_.blockLength - 1) / options_.blockLength;
  const int steps = options_.steps / blocks;
  const int first = step / steps * options_.blockLength;
  return {first, std::min(first + options_.blockLength, layout_.length), step % steps, steps};
}

// Masked positions of the block before its first step.
int Particles::freeIn(const Block& block) const {
  return static_cast<int>(std::count(options_.pinned.begin() + block.first, options_.pinned.begin() + block.last, -1));
}

void Particles::propose(int step) {
  const Timer timer(*this, kPropose);
  const Block block = blockAt(step);
  const int count = kernels::openCount(freeIn(block), block.step, block.steps);
  Draws d = draws(step, kernels::Purpose::proposal, 0, drawn_.data());
  d.logModel = logModel_.data();
  d.logProposal = logProposal_.data();
  const auto draw = [&] { device_->draw(logits_, options_.temperature, tileTable(), rowStats(), layout_, d); };
  const auto choose = [&] {
    device_->score(options_.order, logits_, tileTable(), rowStats(), layout_, stateOf_.data(), wanted_.data(),
                   logModel_.data(), scores_.data());
    device_->choose(layout_, scores_.data(), wanted_.data(), count, opened_.data());
  };

  device_->masked(layout_, liveOnDevice_.data(), options_.maskId, tokens_.data(), block.first, block.last,
                  wanted_.data());
  if (options_.order == kernels::Order::confidence) {
    draw();
    choose();
  } else {
    if (options_.order == kernels::Order::random) {
      device_->open(layout_, seeds_.data(), static_cast<uint32_t>(step), block, wanted_.data(), opened_.data());
    } else {
      choose();
    }
    device_->copy(wanted_.data(), opened_.data(), opened_.bytes());  // no other is drawn
    draw();
  }
  device_->place(layout_, opened_.data(), drawn_.data(), tokens_.data());
  send(tokens_);
}

// Onto what the host gets of this step, as it is now.
template <class T>
void Particles::send(const Array<T>& values) {
  device_->copy(outcome_.data() + sent_, values.data(), values.bytes());
  sent_ += values.bytes();
}

// In the order in which it was sent.
Particles::Outcome Particles::takeOutcome(bool isLast) {
  const std::vector<std::byte> bytes = outcome_.download(0, std::exchange(sent_, 0));
  ++copies_.waits;
  const std::byte* next = bytes.data();
  const auto take = [&]<class T>(Copied why, const Array<T>& as) {
    std::vector<T> values(as.size());
    std::memcpy(values.data(), next, as.bytes());
    next += as.bytes();
    copies_[why].toHost += static_cast<int64_t>(as.bytes());
    return values;
  };
  Outcome outcome;
  outcome.rewards.clip = take(Copied::rewards, clip_);
  outcome.rewards.edit = take(Copied::rewards, edit_);
  outcome.rewards.logWeights = take(Copied::rewards, logWeights_);
  outcome.rewards.ess = take(Copied::rewards, ess_);
  if (isLast) return outcome;
  Proposal& proposal = outcome.proposal.emplace();
  proposal.ancestors = take(Copied::ancestors, ancestors_);
  proposal.resampled = take(Copied::ancestors, resampled_);
  proposal.tokens = hostTokens_ = take(Copied::tokenIds, tokens_);
  return outcome;
}

std::vector<int32_t> Particles::redraw(int step, bool ofProposal, const std::vector<Redraw>& redraws) {
  const Timer timer(*this, ofProposal ? kPropose : kGuess);
  if (!ofProposal) isCoupled_ = false;
  const int P = layout_.particles();
  std::vector<int32_t> tokens(redraws.size());
  for (int g = 0; g < (ofProposal ? 1 : options_.guesses); ++g) {
    std::vector<Redraw> ofGuess;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < redraws.size(); ++i) {
      if (redraws[i].particle / P != g) continue;
      ofGuess.push_back({redraws[i].particle % P, redraws[i].position, redraws[i].excluded});
      places.push_back(i);
    }
    Draws d = draws(step, ofProposal ? kernels::Purpose::proposalRedraw : kernels::Purpose::guessRedraw, g,
                    ofProposal ? tokens_.data() : guess_.data() + static_cast<std::size_t>(g) * tokens_.size());
    if (ofProposal) {
      d.logModel = logModel_.data();
      d.logProposal = logProposal_.data();
    }
    const std::vector<int32_t> drawn =
        device_->redraw(logits_, options_.temperature, options_.truncation, layout_, d, ofGuess);
    std::size_t ids = 1 + 3 * ofGuess.size();  // places, and where their lists begin
    for (const Redraw& redraw : ofGuess) ids += redraw.excluded.size();
    Copies::Bytes& copied = copies_[Copied::tokenIds];
    if (!ofGuess.empty()) copied.toDevice += static_cast<int64_t>(ids * sizeof(int32_t));
    copied.toHost += static_cast<int64_t>(drawn.size() * sizeof(int32_t));
    copies_.waits += !ofGuess.empty();
    for (std::size_t i = 0; i < places.size(); ++i) {
      tokens[places[i]] = drawn[i];
      const auto at = times({ofGuess[i].particle, layout_.length}) + static_cast<std::size_t>(ofGuess[i].position);
      if (ofProposal && drawn[i] >= 0) hostTokens_[at] = drawn[i];
    }
  }
  return tokens;
}

void Particles::accept() {
  device_->accept(layout_, opened_.data(), wanted_.data(), logModel_.data(), logProposal_.data(), logProb_.data(),
                  logWeights_.data());
}

Particles::Final Particles::final() { return {hostTokens_, download(Copied::result, logProb_)}; }

Particles::Similarity Particles::similarity(int particle) {
  const auto p = static_cast<std::size_t>(particle), length = static_cast<std::size_t>(layout_.length);
  const auto state = static_cast<std::size_t>(download(Copied::result, stateOf_, p, 1)[0]);
  Similarity s = {download(Copied::result, gram_, state * length * length, length * length),
                  download(Copied::result, counted_, p * length, length),
                  {}};
  s.coupling = kernels::coupling(s.gram.data(), s.counted.data(), layout_.length);
  return s;
}

std::size_t Particles::bytes() const {
  std::size_t sum = dllmBinding_.bytes() + textBinding_.bytes();
  const auto add = [&sum](const auto&... arrays) { sum += (arrays.bytes() + ...); };
  add(imageEmbeds_, liveOnDevice_, resampled_, seeds_, suppressed_, stops_, ess_, textOf_, outcome_);
  for (const auto& [ids, at] : restrictions_) add(ids, at);
  add(tokens_, spareTokens_, drawn_, guess_, stateOf_, spareStateOf_, ancestors_, wanted_, opened_, counted_);
  add(logModel_, logProposal_, scores_, clip_, edit_, total_, previousTotal_, logWeights_, logProb_, spare_);
  add(rowOf_, tileMax_, tileMass_, tileMoment_, tileWeight_, tileGram_, tileExponent_);
  add(rowMax_, rowEntropy_, rowThreshold_, gram_, rowExponent_, rowMass_, rowTemperedMass_, rowFault_);
  return sum;
}

template <class T>
T* Particles::fromState(Array<T>& ofStates, int first) const {
  return ofStates.data() +
         ofStates.size() / static_cast<std::size_t>(layout_.particles()) * static_cast<std::size_t>(first);
}

// Of states `first` … `first + states − 1`, as are the following from `first` on.
Logits Particles::logits(int first, int states) {
  return {dllmBuffers_.logits,
          logitsType(dllm_.session->typeOf(dllm_.logits)),
          dllm_.vocab,
          rowOf_.data() + static_cast<int64_t>(first) * layout_.length,
          states,
          layout_.length,
          dllm_.vocab};
}

TileTable Particles::tileTable(int first) {
  const auto from = [&](auto& array) { return fromState(array, first); };
  return {from(tileMax_), from(tileExponent_), from(tileMass_), from(tileMoment_), from(tileWeight_), from(tileGram_)};
}

RowStats Particles::rowStats(int first) {
  const auto from = [&](auto& array) { return fromState(array, first); };
  return {from(rowMax_),       from(rowExponent_), from(rowMass_),  from(rowTemperedMass_),
          from(rowThreshold_), from(rowEntropy_),  from(rowFault_), from(gram_)};
}

}  // namespace fkinv
