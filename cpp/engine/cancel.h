// Cancelling a piece of work from another thread.
#pragma once
#include <functional>
#include <mutex>

namespace fkinv {

/// Shared between the thread that works and the one that may stop it. Cancelling is final.
class CancelToken {
 public:
  /// From any thread. Stops what runs under a Guard now, and whatever checks the token later.
  void cancel();
  bool cancelled() const;
  /// Throws Error "ABORTED" when cancelled.
  void check() const;

  /// While it lives, cancel() calls `terminate` (once, from the cancelling thread).
  class Guard {
   public:
    Guard(CancelToken& token, std::function<void()> terminate);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    CancelToken& token_;
  };

 private:
  mutable std::mutex mutex_;
  bool cancelled_ = false;
  std::function<void()> terminate_;
};

}  // namespace fkinv
