#include "engine.h"

#include <utility>

#include "error.h"

namespace fkinv {

Engine::Engine(std::shared_ptr<Device> device) : device_(std::move(device)), thread_([this] { loop(); }) {}

Engine::~Engine() {
  close();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Engine::submit(std::shared_ptr<CancelToken> cancel, Work work, Done done) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back({std::move(cancel), std::move(work), std::move(done)});
  }
  wake_.notify_one();
}

void Engine::close() {
  std::shared_ptr<CancelToken> running;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    running = running_;
  }
  if (running) running->cancel();
}

void Engine::loop() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
      running_ = job.cancel;
    }
    std::exception_ptr failure = attempt(job);
    {
      std::lock_guard lock(mutex_);
      running_ = nullptr;
    }
    job.done(failure);
  }
}

std::exception_ptr Engine::attempt(const Job& job) {
  const auto closed = [this] {
    std::lock_guard lock(mutex_);
    return closed_;
  };
  try {
    if (!closed()) {
      job.cancel->check();
      job.work();
      return nullptr;
    }
  } catch (const Error&) {
    if (!closed()) return std::current_exception();  // else it was closing that stopped the work
  } catch (const std::bad_alloc&) {
    return std::make_exception_ptr(
        Error("OUT_OF_MEMORY", "out of memory: use fewer particles, a smaller maxBatch or a shorter prompt"));
  } catch (...) {
    return std::current_exception();
  }
  return std::make_exception_ptr(Error("DISPOSED", "the Inverter was disposed of: load another"));
}

}  // namespace fkinv
