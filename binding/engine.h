// class Engine: an engine thread, and the sessions loaded on it.
#pragma once
#include <napi.h>

#include "jobs.h"

namespace fkinv::binding {

class EngineClass : public Napi::ObjectWrap<EngineClass> {
 public:
  static constexpr const char* kName = "Engine";
  static constexpr napi_type_tag kTag = {0x6b1d1f0e5a7c4f21, 0x9d2c3b4a5e6f7081};
  static Napi::Function define(Napi::Env env);
  explicit EngineClass(const Napi::CallbackInfo& info);

  /// Throws a JavaScript error with code "DISPOSED" once dispose() was called.
  const std::shared_ptr<Jobs>& jobs(Napi::Env env) const;

 private:
  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value maxPositions(const Napi::CallbackInfo& info);
  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value measureLimits(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  std::string name_;  // of the device
  int maxPositions_ = 0;
  std::shared_ptr<Jobs> jobs_;
};

}  // namespace fkinv::binding
