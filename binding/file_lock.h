// class FileLock: a lock on a file, between processes.
#pragma once
#include <napi.h>

#include <memory>

#include "cpp/platform/platform.h"

namespace fkinv::binding {

class FileLockClass : public Napi::ObjectWrap<FileLockClass> {
 public:
  static constexpr const char* kName = "FileLock";
  static Napi::Function define(Napi::Env env);
  explicit FileLockClass(const Napi::CallbackInfo& info);

 private:
  Napi::Value isHeld(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);
  std::unique_ptr<platform::FileLock> lock_;
};

}  // namespace fkinv::binding
