// Where the time of a call goes: spans, from the engine's thread and its pool's.
#pragma once
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace fkinv {

enum class SpanKind : uint8_t { kernel, forward, modelRun };

/// What a span's work comes to, from its shapes: bytes that it reads, each counted once, and float operations, a
/// multiplication and an addition one each. kUnknown where only ONNX Runtime knows.
struct Cost {
  static constexpr int64_t kUnknown = -1;
  int64_t bytes, flops;
};

/// One kernel; or a forward, the runs of a graph on all its rows; or one of those runs.
struct Span {
  std::string name;
  SpanKind kind;
  int thread;  // 0 made the recorder, 1 is the engine's own, the others are its pool's
  std::chrono::steady_clock::time_point start, end;
  Cost cost;
};

/// Spans from any thread, in the order in which they ended.
class Recorder {
 public:
  using Clock = std::chrono::steady_clock;

  Recorder() { enter(); }

  /// A span of this thread, which ends now.
  void add(std::string name, SpanKind kind, Clock::time_point start, Cost cost);
  /// Gives this thread the next number, if it has none.
  void enter();
  /// All spans so far, which it then forgets.
  std::vector<Span> take();

 private:
  int numberOfThisThread();

  std::mutex mutex_;
  std::vector<std::thread::id> threads_;
  std::vector<Span> spans_;
};

}  // namespace fkinv
