#include "recording_device.h"

#include <variant>

namespace fkinv {

// What a kernel does may depend on how many positions are marked: the marks are kept as they are now, and counted when
// the spans are taken, so that nothing waits for them.
template <class Kernel>
Recorder::CostOf RecordingDevice::costOf(const Kernel& kernel) const {
  if constexpr (requires { kernel.marks(); }) {
    const auto marks = std::make_shared<Array<uint8_t>>(device_, kernel.marks().size());
    device_->copy(marks->data(), kernel.marks().data(), marks->bytes());
    return [kernel, marks] { return kernel.cost(marks->download()); };
  } else {
    return [cost = kernel.cost()] { return cost; };
  }
}

void RecordingDevice::run(const ops::Op& op) {
  std::visit(
      [&](const auto& kernel) {
        const Timed timed(*this, kernel.kName, SpanKind::kernel, costOf(kernel));
        device_->run(op);
      },
      op);
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

// The wait for what was queued before is a span of its own, so that the copy's says what the copy takes.
void RecordingDevice::download(void* host, const void* from, std::size_t bytes) {
  wait();
  const Timed timed(*this, "download", {static_cast<int64_t>(bytes), 0}, On::host);
  device_->download(host, from, bytes);
}

void RecordingDevice::copy(void* to, const void* from, std::size_t bytes) {
  const Timed timed(*this, "copy", {static_cast<int64_t>(bytes), 0});
  device_->copy(to, from, bytes);
}

}  // namespace fkinv
