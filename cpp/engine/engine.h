// One thread that owns a device and does all the work on it, in order.
#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>

#include "cancel.h"
#include "device/device.h"
#include "platform/platform.h"

namespace fkinv {

/// ort::open() must have been called.
class Engine {
 public:
  using Work = std::function<void()>;
  /// Called on the engine's thread, with null when the work succeeded.
  using Done = std::function<void(std::exception_ptr)>;

  explicit Engine(std::shared_ptr<Device> device);
  /// Closes, and waits for the job that runs. Not on the engine's own thread.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Queues `work`. Once the engine is closed, or `cancel` has fired, it is not run: `done` gets Error "DISPOSED" or
  /// "ABORTED". `done` is called exactly once in every case.
  void submit(std::shared_ptr<CancelToken> cancel, Work work, Done done);

  /// Any thread may call it, and it returns at once: it stops the job that runs, and fails those that wait.
  void close();

  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  struct Job {
    std::shared_ptr<CancelToken> cancel;
    Work work;
    Done done;
  };
  void loop();
  std::exception_ptr attempt(const Job& job);

  const std::shared_ptr<Device> device_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;
  std::shared_ptr<CancelToken> running_;
  bool closed_ = false, stopping_ = false;
  platform::Thread thread_;
};

}  // namespace fkinv
