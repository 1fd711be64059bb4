#pragma once
#include <memory>

#include "device/device.h"
#include "recorder.h"

namespace fkinv {

/// Another device, each of whose kernels and runs leaves a span, and a range in the device's profiler. Where that
/// device queues its work, the span is of its own order; but what the host copies, and waits for, is the calling
/// thread's. It exists while something is profiled: a call that is not has the device itself, and pays nothing.
class RecordingDevice final : public Device {
 public:
  RecordingDevice(std::shared_ptr<Device> device, std::shared_ptr<Recorder> recorder)
      : device_(std::move(device)), recorder_(std::move(recorder)), queues_(device_->mark() != nullptr) {}

  const char* memoryName() const override { return device_->memoryName(); }
  int memoryIndex() const override { return device_->memoryIndex(); }
  bool isHost() const override { return device_->isHost(); }
  int maxPositions() const override { return device_->maxPositions(); }
  const char* pinnedMemoryName() const override { return device_->pinnedMemoryName(); }
  void configure(OrtSessionOptions* options, bool cudaGraphs) const override {
    device_->configure(options, cudaGraphs);
  }
  void configure(OrtRunOptions* options) const override { device_->configure(options); }
  bool hasCudaGraphs() const override { return device_->hasCudaGraphs(); }
  void capture(const std::function<void()>& run) override { device_->capture(run); }
  int chunkTiles() const override { return device_->chunkTiles(); }
  void eachRow(const Forward& forward, const std::function<void(int64_t)>& run) override;
  void wait() const noexcept override;
  std::unique_ptr<Mark> mark() noexcept override { return device_->mark(); }
  void enter(const char* name) noexcept override { device_->enter(name); }
  void leave() noexcept override { device_->leave(); }
  Limits measureLimits() override { return device_->measureLimits(); }

  std::optional<std::size_t> freeBytes() override { return device_->freeBytes(); }
  void* allocate(std::size_t bytes) override { return device_->allocate(bytes); }
  void release(void* memory) noexcept override { device_->release(memory); }
  void upload(void* to, const void* host, std::size_t bytes) override;
  void download(void* host, const void* from, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;

  void run(const ops::Op&) override;

 private:
  enum class On : uint8_t { device, host };
  // Its span lasts as long as it lives.
  class Timed {
   public:
    Timed(const RecordingDevice& device, std::string name, SpanKind kind, Recorder::CostOf cost, On on = On::device)
        : device_(*device.device_),
          recorder_(*device.recorder_),
          name_(std::move(name)),
          kind_(kind),
          cost_(std::move(cost)),
          range_(device_, name_.c_str()),
          start_(on == On::device ? recorder_.startOn(device_) : Recorder::startHere()) {}
    Timed(const RecordingDevice& device, const char* kernel, Cost cost, On on = On::device)
        : Timed(device, kernel, SpanKind::kernel, [cost] { return cost; }, on) {}
    ~Timed() { recorder_.add(name_, kind_, start_, device_, std::move(cost_)); }
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;

   private:
    Device& device_;
    Recorder& recorder_;
    const std::string name_;
    const SpanKind kind_;
    Recorder::CostOf cost_;
    const Range range_;
    const Recorder::Start start_;
  };
  template <class Kernel>
  Recorder::CostOf costOf(const Kernel&) const;

  const std::shared_ptr<Device> device_;
  const std::shared_ptr<Recorder> recorder_;
  const bool queues_;
};

}  // namespace fkinv
