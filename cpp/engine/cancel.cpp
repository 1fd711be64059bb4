#include "cancel.h"

#include <utility>

#include "error.h"

namespace fkinv {

void CancelToken::cancel() {
  std::lock_guard lock(mutex_);
  if (cancelled_) return;
  cancelled_ = true;
  if (terminate_) terminate_();
}

bool CancelToken::cancelled() const {
  std::lock_guard lock(mutex_);
  return cancelled_;
}

void CancelToken::check() const {
  if (cancelled()) throw Error("ABORTED", "the inversion was aborted");
}

CancelToken::Guard::Guard(CancelToken& token, std::function<void()> terminate) : token_(token) {
  token.check();
  std::lock_guard lock(token.mutex_);
  token.terminate_ = std::move(terminate);
  if (token.cancelled_) token.terminate_();  // cancelled between the check and here
}

CancelToken::Guard::~Guard() {
  std::lock_guard lock(token_.mutex_);
  token_.terminate_ = nullptr;
}

}  // namespace fkinv
