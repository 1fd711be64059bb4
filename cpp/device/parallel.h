// A small pool that runs the pieces of one kernel on several threads.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <vector>

#include "platform/platform.h"

namespace fkinv {

/// Pieces are handed out in any order and to any thread: a kernel's result may depend on neither.
class ThreadPool {
 public:
  /// `threads` ≥ 1 counts the calling thread, so 1 starts none.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// The calling thread included.
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Runs piece(0) … piece(count − 1) and returns when all are done. Not reentrant; one caller at a time. A piece that
  /// throws stops the rest from starting, and the first exception is rethrown here.
  void run(int64_t count, const std::function<void(int64_t)>& piece);

 private:
  void stop();
  void work();
  void loop();

  std::vector<platform::Thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int64_t)>* piece_ = nullptr;
  std::atomic<int64_t> next_{0};
  int64_t count_ = 0;
  uint64_t round_ = 0;
  int busy_ = 0;
  bool stopping_ = false;
  std::exception_ptr failure_;
};

}  // namespace fkinv
