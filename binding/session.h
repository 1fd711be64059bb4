// class Session: a model graph, loaded.
#pragma once
#include <napi.h>

#include "cpp/ort/session.h"
#include "jobs.h"

namespace fkinv::binding {

class SessionClass : public Napi::ObjectWrap<SessionClass> {
 public:
  static constexpr const char* kName = "Session";
  static constexpr napi_type_tag kTag = {0x51c0a9e8d7b64f03, 0x8192a3b4c5d6e7f8};
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, std::shared_ptr<Jobs> jobs, std::shared_ptr<ort::Session> session);
  explicit SessionClass(const Napi::CallbackInfo& info);

  /// Throws a JavaScript error with code "DISPOSED" once dispose() was called.
  const std::shared_ptr<ort::Session>& session(Napi::Env env) const;

 private:
  Napi::Value inputs(const Napi::CallbackInfo& info);
  Napi::Value outputs(const Napi::CallbackInfo& info);
  Napi::Value run(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<Jobs> jobs_;
  std::shared_ptr<ort::Session> session_;
};

}  // namespace fkinv::binding
