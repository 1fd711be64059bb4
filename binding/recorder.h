// class Recorder: the spans of what is profiled.
#pragma once
#include <napi.h>

#include <memory>

#include "cpp/profiling/recorder.h"
#include "jobs.h"

namespace fkinv::binding {

class RecorderClass : public Napi::ObjectWrap<RecorderClass> {
 public:
  static constexpr const char* kName = "Recorder";
  static constexpr napi_type_tag kTag = {0x0d3b9a6c4e1f4f72, 0xb5a47c1d90e2386f};
  static Napi::Function define(Napi::Env env);
  explicit RecorderClass(const Napi::CallbackInfo& info);

  /// The device of `jobs`, recorded where `recorder` is a Recorder, and itself where it is undefined.
  static std::shared_ptr<Device> deviceOf(const Jobs& jobs, Napi::Value recorder);

 private:
  Napi::Value now(const Napi::CallbackInfo& info);
  Napi::Value take(const Napi::CallbackInfo& info);
  const std::shared_ptr<Recorder> recorder_ = std::make_shared<Recorder>();
};

}  // namespace fkinv::binding
