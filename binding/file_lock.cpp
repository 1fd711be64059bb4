#include "file_lock.h"

#include <system_error>

#include "args.h"
#include "errors.h"

namespace fkinv::binding {

Napi::Function FileLockClass::define(Napi::Env env) {
  return DefineClass(
      env, kName,
      {InstanceAccessor<&FileLockClass::isHeld>("isHeld"), InstanceMethod<&FileLockClass::release>("release")});
}

// new FileLock(path: string)
FileLockClass::FileLockClass(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guard(info.Env(), [&] {
    const std::string path = toString(info[0]);
    try {
      lock_ = std::make_unique<platform::FileLock>(platform::toPath(path));
    } catch (const std::system_error& error) {
      throw Error("OUTPUT_FAILED", "cannot lock " + path + ": " + error.code().message());
    }
  });
}

// isHeld: boolean
Napi::Value FileLockClass::isHeld(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), lock_ != nullptr && lock_->isHeld());
}

// release()
void FileLockClass::release(const Napi::CallbackInfo& /*info*/) { lock_.reset(); }

}  // namespace fkinv::binding
