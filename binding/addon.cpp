// The addon's entry: registers the classes and functions that lib/native.ts describes.
#include <napi.h>

#include "addon_data.h"
#include "args.h"
#include "cpp/build_facts.h"
#include "cpp/ort/library.h"
#include "cpp/platform.h"
#include "engine.h"
#include "kernels.h"
#include "particles.h"
#include "recorder.h"
#include "session.h"
#include "tensor.h"

namespace fkinv::binding {
namespace {

// setErrorClass(FkinvError): what failures are thrown as.
void setErrorClass(const Napi::CallbackInfo& info) {
  detail::expect(info.Env(), info[0].IsFunction(), "a class");
  addonData(info.Env()).errorClass = Napi::Persistent(info[0].As<Napi::Function>());
}

// stopEngines(): for the process's exit.
void stopEngines(const Napi::CallbackInfo& info) { Jobs::stopAll(info.Env()); }

// build(): { compiler, baseline }
Napi::Value build(const Napi::CallbackInfo& info) {
  Napi::Object facts = Napi::Object::New(info.Env());
  facts.Set("compiler", compiler());
  facts.Set("baseline", baseline());
  return facts;
}

// onnxRuntimeVersion(): string, by its own word; empty before an engine has opened it
Napi::Value onnxRuntimeVersion(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), ort::version()); }

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  // A worker that alone loaded the addon would unload it at exit, under threads that may still be returning.
  platform::pinOwnLibrary();
  auto* data = new AddonData();
  env.SetInstanceData(data);
  const Napi::Function session = SessionClass::define(env), tensor = TensorClass::define(env);
  data->session = Napi::Persistent(session);
  data->tensor = Napi::Persistent(tensor);
  exports.Set("setErrorClass", Napi::Function::New<setErrorClass>(env, "setErrorClass"));
  exports.Set("build", Napi::Function::New<build>(env, "build"));
  exports.Set("onnxRuntimeVersion", Napi::Function::New<onnxRuntimeVersion>(env, "onnxRuntimeVersion"));
  exports.Set("stopEngines", Napi::Function::New<stopEngines>(env, "stopEngines"));
  exports.Set(EngineClass::kName, EngineClass::define(env));
  exports.Set(ParticlesClass::kName, ParticlesClass::define(env));
  exports.Set(RecorderClass::kName, RecorderClass::define(env));
  defineKernels(env, exports);
  return exports;
}

}  // namespace
}  // namespace fkinv::binding

static Napi::Object initialise(Napi::Env env, Napi::Object exports) { return fkinv::binding::initialise(env, exports); }
NODE_API_MODULE(NODE_GYP_MODULE_NAME, initialise)
