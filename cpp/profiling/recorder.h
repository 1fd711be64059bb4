// Where the time of a call goes: spans, from the engine's thread and its pool's, and in the order of the device's work.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "device/device.h"
#include "ops/cost.h"

namespace fkinv {

enum class SpanKind : uint8_t { kernel, forward, modelRun, wait };

/// One kernel; or a forward, the runs of a graph on all its rows; or one of those runs; or the host's waiting for the
/// device.
struct Span {
  static constexpr int kDevice = -1;
  std::string name;
  SpanKind kind;
  int thread;  // 0 made the recorder, 1 is the engine's own, the others are its pool's; kDevice is none
  std::chrono::steady_clock::time_point start, end;
  Cost cost;
};

/// Spans from any thread, in the order in which they ended. Those that a device queued have their times by its marks,
/// and their costs by what was queued with them: both are asked for as the spans are taken, so that recording waits for
/// no device.
class Recorder {
 public:
  using Clock = std::chrono::steady_clock;
  using CostOf = std::function<Cost()>;
  /// Where a span begins: on the host, and in the order of a device that has one.
  struct Start {
    Clock::time_point time;
    std::optional<std::size_t> mark;
  };

  Recorder() { enter(); }

  /// Now, on this thread.
  static Start startHere() { return {Clock::now(), std::nullopt}; }
  /// Behind what `device` has queued; now, where it queues nothing. All marks are of one device.
  Start startOn(Device& device);
  /// A span that ends now, on this thread; or behind what `device` has queued, where `start` is a mark of it.
  void add(std::string name, SpanKind kind, const Start& start, Device& device, CostOf cost);
  /// Gives this thread the next number, if it has none.
  void enter();
  /// All spans so far, which it then forgets. Waits for the device's part in them.
  std::vector<Span> take();

 private:
  struct Recorded {
    Span span;
    CostOf cost;
    std::optional<std::pair<std::size_t, std::size_t>> marks;
  };
  void readClocks(Device& device);
  int numberOfThisThread();
  std::vector<Clock::time_point> takeMarks();

  std::mutex mutex_;
  std::vector<std::thread::id> threads_;
  std::vector<Recorded> spans_;
  std::vector<std::unique_ptr<Mark>> marks_;  // in the device's order
  Clock::time_point firstMark_;               // when the device came to it
};

}  // namespace fkinv
