#include "recorder.h"

#include <algorithm>

namespace fkinv {

Recorder::Start Recorder::startOn(Device& device) {
  const std::lock_guard lock(mutex_);  // marks are listed in the order in which they are made
  std::unique_ptr<Mark> mark = device.mark();
  if (mark == nullptr) return startHere();
  if (marks_.empty()) {
    readClocks(device);
    mark = device.mark();
  }
  marks_.push_back(std::move(mark));
  return {{}, marks_.size() - 1};
}

// Waits, this once: of a few marks the one after which the host's clock is read soonest.
void Recorder::readClocks(Device& device) {
  auto least = Clock::duration::max();
  device.wait();
  for (int i = 0; i < 5; ++i) {
    const auto before = Clock::now();
    std::unique_ptr<Mark> mark = device.mark();
    device.wait();
    const auto took = Clock::now() - before;
    if (took >= least) continue;
    least = took;
    firstMark_ = before + took / 2;
    marks_.clear();
    marks_.push_back(std::move(mark));
  }
}

void Recorder::add(std::string name, SpanKind kind, const Start& start, Device& device, CostOf cost) {
  if (start.mark.has_value()) {
    const std::size_t end = startOn(device).mark.value();
    const std::lock_guard lock(mutex_);
    spans_.push_back({{std::move(name), kind, Span::kDevice, {}, {}, {}}, std::move(cost), {{*start.mark, end}}});
    return;
  }
  const auto end = Clock::now();
  const std::lock_guard lock(mutex_);
  spans_.push_back({{std::move(name), kind, numberOfThisThread(), start.time, end, {}}, std::move(cost), {}});
}

void Recorder::enter() {
  const std::lock_guard lock(mutex_);
  numberOfThisThread();
}

std::vector<Span> Recorder::take() {
  const std::lock_guard lock(mutex_);
  const std::vector<Clock::time_point> times = takeMarks();
  std::vector<Span> spans;
  for (auto& [span, cost, marks] : std::exchange(spans_, {})) {
    span.cost = cost();
    if (marks.has_value()) {
      span.start = times[marks->first];
      span.end = times[marks->second];
    }
    spans.push_back(std::move(span));
  }
  return spans;
}

// Each from the one before it: what is far apart is told to fewer digits (CUDA has float milliseconds).
std::vector<Recorder::Clock::time_point> Recorder::takeMarks() {
  const auto marks = std::exchange(marks_, {});
  std::vector<Clock::time_point> times;
  std::chrono::duration<double, std::milli> passed(0);
  for (std::size_t i = 0; i < marks.size(); ++i) {
    if (i > 0) passed += std::chrono::duration<double, std::milli>(marks[i]->since(*marks[i - 1]));
    times.push_back(firstMark_ + std::chrono::duration_cast<Clock::duration>(passed));
  }
  return times;
}

int Recorder::numberOfThisThread() {
  const auto self = std::this_thread::get_id();
  const auto found = std::find(threads_.begin(), threads_.end(), self);
  const auto number = static_cast<int>(found - threads_.begin());
  if (found == threads_.end()) threads_.push_back(self);
  return number;
}

}  // namespace fkinv
