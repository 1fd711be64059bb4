#include "recording_device.h"

#include <algorithm>

namespace fkinv {
namespace {

int64_t slots(const Layout& layout) { return static_cast<int64_t>(layout.particles()) * layout.length; }

int64_t marked(std::span<const uint8_t> marks) {
  return std::count_if(marks.begin(), marks.end(), [](uint8_t mark) { return mark != 0; });
}

// Of marked positions of one particle.
int64_t pairs(const std::vector<uint8_t>& marks, std::size_t length) {
  int64_t sum = 0;
  for (std::size_t first = 0; first < marks.size(); first += length) {
    const int64_t positions = marked({&marks[first], length});
    sum += positions * (positions - 1) / 2;
  }
  return sum;
}

}  // namespace

// What a kernel does depends on how many positions are marked: kept as they are now, and counted when the spans are
// taken.
std::shared_ptr<const Array<uint8_t>> RecordingDevice::marks(const Layout& layout, const uint8_t* onDevice) const {
  const auto kept = std::make_shared<Array<uint8_t>>(device_, static_cast<std::size_t>(slots(layout)));
  device_->copy(kept->data(), onDevice, kept->bytes());
  return kept;
}

void RecordingDevice::eachRow(const Forward& forward, const std::function<void(int64_t)>& run) {
  recorder_->enter();  // the engine's thread, before one of the pool
  const std::string model(forward.model);
  int64_t bytes = 0;
  for (int64_t row = 0; row < forward.rows; ++row) bytes += forward.inputBytes(row);
  const auto reads = [](int64_t inputs) { return [inputs] { return Cost{inputs, Cost::kUnknown}; }; };
  const Timed timed(*this, model, SpanKind::forward, reads(bytes));
  device_->eachRow(forward, [&](int64_t row) {
    const Timed one(*this, model, SpanKind::modelRun, reads(forward.inputBytes(row)));
    run(row);
  });
}

void RecordingDevice::wait() const noexcept {
  if (!queues_) return;
  const Timed timed(*this, "wait", SpanKind::wait, [] { return Cost{0, 0}; }, On::host);
  device_->wait();
}

void RecordingDevice::upload(void* to, const void* host, std::size_t bytes) {
  const Timed timed(*this, "upload", {static_cast<int64_t>(bytes), 0}, On::host);
  device_->upload(to, host, bytes);
}

// Without the wait for what comes before it.
void RecordingDevice::download(void* host, const void* from, std::size_t bytes) {
  wait();
  const Timed timed(*this, "download", {static_cast<int64_t>(bytes), 0}, On::host);
  device_->download(host, from, bytes);
}

void RecordingDevice::copy(void* to, const void* from, std::size_t bytes) {
  const Timed timed(*this, "copy", {static_cast<int64_t>(bytes), 0});
  device_->copy(to, from, bytes);
}

void RecordingDevice::suppress(const Logits& z, std::span<const int32_t> ids, std::span<const uint8_t> at) {
  const Timed timed(*this, "suppress", {static_cast<int64_t>(ids.size_bytes() + at.size_bytes()), 0});
  device_->suppress(z, ids, at);
}

void RecordingDevice::pass(const Logits& z, double temperature, const TileTable& tiles) {
  const Timed timed(*this, "pass", costs::pass(z, temperature));
  device_->pass(z, temperature, tiles);
}

void RecordingDevice::merge(const Logits& z, double temperature, const TileTable& tiles, const RowStats& rows) {
  const Timed timed(*this, "merge", costs::merge(z, chunkTiles()));
  device_->merge(z, temperature, tiles, rows);
}

void RecordingDevice::truncate(const Logits& z, double temperature, kernels::Truncation truncation,
                               const TileTable& tiles, const RowStats& rows) {
  const Timed timed(*this, "truncate", costs::truncate(z, truncation));
  device_->truncate(z, temperature, truncation, tiles, rows);
}

void RecordingDevice::masked(const Layout& layout, const uint8_t* live, int32_t maskId, const int32_t* tokens,
                             int first, int last, uint8_t* wanted) {
  const Timed timed(*this, "masked", costs::masked(layout));
  device_->masked(layout, live, maskId, tokens, first, last, wanted);
}

void RecordingDevice::exclude(const Layout& layout, const int32_t* stateOf, const kernels::RowFault* faults,
                              uint8_t* wanted, int32_t* tokens) {
  const Timed timed(*this, "exclude", costs::exclude(layout));
  device_->exclude(layout, stateOf, faults, wanted, tokens);
}

void RecordingDevice::open(const Layout& layout, const uint64_t* seeds, uint32_t step, const Block& block,
                           const uint8_t* wanted, uint8_t* opened) {
  const Timed timed(*this, "open", costs::open(layout));
  device_->open(layout, seeds, step, block, wanted, opened);
}

void RecordingDevice::score(kernels::Order order, const Logits& z, const TileTable& tiles, const RowStats& rows,
                            const Layout& layout, const int32_t* stateOf, const uint8_t* wanted, const double* logModel,
                            double* scores) {
  const Timed timed(*this, "score", SpanKind::kernel, [order, z, layout, at = marks(layout, wanted)] {
    return costs::score(order, z, layout, marked(at->download()));
  });
  device_->score(order, z, tiles, rows, layout, stateOf, wanted, logModel, scores);
}

void RecordingDevice::choose(const Layout& layout, const double* scores, const uint8_t* wanted, int count,
                             uint8_t* opened) {
  const Timed timed(*this, "choose", costs::choose(layout));
  device_->choose(layout, scores, wanted, count, opened);
}

void RecordingDevice::draw(const Logits& z, double temperature, const TileTable& tiles, const RowStats& rows,
                           const Layout& layout, const Draws& draws) {
  const Timed timed(*this, "draw", SpanKind::kernel, [z, temperature, at = marks(layout, draws.wanted)] {
    return costs::draw(z, temperature, marked(at->download()));
  });
  device_->draw(z, temperature, tiles, rows, layout, draws);
}

std::vector<int32_t> RecordingDevice::redraw(const Logits& z, double temperature, kernels::Truncation truncation,
                                             const Layout& layout, const Draws& draws,
                                             std::span<const Redraw> redraws) {
  const Timed timed(*this, "redraw", costs::redraw(z, static_cast<int64_t>(redraws.size())));
  return device_->redraw(z, temperature, truncation, layout, draws, redraws);
}

void RecordingDevice::place(const Layout& layout, const uint8_t* opened, const int32_t* drawn, int32_t* tokens) {
  const Timed timed(*this, "place", costs::place(layout));
  device_->place(layout, opened, drawn, tokens);
}

void RecordingDevice::accept(const Layout& layout, const uint8_t* opened, const uint8_t* drawn, const double* logModel,
                             const double* logProposal, double* logProb, double* logWeights) {
  const Timed timed(*this, "accept", costs::accept(layout));
  device_->accept(layout, opened, drawn, logModel, logProposal, logProb, logWeights);
}

void RecordingDevice::count(const Layout& layout, const int32_t* tokens, std::span<const int32_t> stops, bool all,
                            uint8_t* counted) {
  const Timed timed(*this, "count", costs::count(layout, static_cast<int64_t>(stops.size())));
  device_->count(layout, tokens, stops, all, counted);
}

void RecordingDevice::coupling(const Layout& layout, const float* gram, const int32_t* stateOf, const uint8_t* counted,
                               double* rewardEdit) {
  const Timed timed(*this, "coupling", SpanKind::kernel, [layout, at = marks(layout, counted)] {
    return costs::coupling(layout, pairs(at->download(), static_cast<std::size_t>(layout.length)));
  });
  device_->coupling(layout, gram, stateOf, counted, rewardEdit);
}

void RecordingDevice::cosine(const Layout& layout, const float* texts, const int32_t* textOf, const float* images,
                             int size, double* rewardClip) {
  const Timed timed(*this, "cosine", costs::cosine(layout, size));
  device_->cosine(layout, texts, textOf, images, size, rewardClip);
}

void RecordingDevice::average(std::span<const float* const> embeddings, int size, float* mean) {
  const Timed timed(*this, "average", costs::average(static_cast<int64_t>(embeddings.size()), size));
  device_->average(embeddings, size, mean);
}

void RecordingDevice::weigh(const Layout& layout, int guesses, const WeightedRewards& rewards,
                            const double* previousTotal, double* total, double* logWeights) {
  const Timed timed(*this, "weigh", costs::weigh(layout, guesses, rewards.count));
  device_->weigh(layout, guesses, rewards, previousTotal, total, logWeights);
}

void RecordingDevice::effectiveSampleSize(const Layout& layout, const double* logWeights, double* ess) {
  const Timed timed(*this, "effectiveSampleSize", costs::effectiveSampleSize(layout));
  device_->effectiveSampleSize(layout, logWeights, ess);
}

void RecordingDevice::resample(const Layout& layout, kernels::Scheme scheme, const uint64_t* seeds, uint32_t step,
                               const Due& due, uint8_t* resampled, double* logWeights, int32_t* ancestors) {
  const Timed timed(*this, "resample", costs::resample(layout));
  device_->resample(layout, scheme, seeds, step, due, resampled, logWeights, ancestors);
}

void RecordingDevice::gather(const Layout& layout, const int32_t* ancestors, const void* from, void* to,
                             std::size_t rowBytes) {
  const Timed timed(*this, "gather", costs::gather(layout, static_cast<int64_t>(rowBytes)));
  device_->gather(layout, ancestors, from, to, rowBytes);
}

}  // namespace fkinv
