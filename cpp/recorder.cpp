#include "recorder.h"

#include <algorithm>
#include <utility>

namespace fkinv {

void Recorder::add(std::string name, SpanKind kind, Clock::time_point start, Cost cost) {
  const auto end = Clock::now();
  const std::lock_guard lock(mutex_);
  spans_.push_back({std::move(name), kind, numberOfThisThread(), start, end, cost});
}

void Recorder::enter() {
  const std::lock_guard lock(mutex_);
  numberOfThisThread();
}

std::vector<Span> Recorder::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(spans_, {});
}

int Recorder::numberOfThisThread() {
  const auto self = std::this_thread::get_id();
  const auto found = std::find(threads_.begin(), threads_.end(), self);
  const auto number = static_cast<int>(found - threads_.begin());
  if (found == threads_.end()) threads_.push_back(self);
  return number;
}

}  // namespace fkinv
