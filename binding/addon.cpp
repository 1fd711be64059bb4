// The addon's entry: registers the classes and functions that lib/native/addon.ts describes.
#include <napi.h>

#include "addon_data.h"
#include "args.h"
#include "cpp/device/devices.h"
#include "cpp/ort/library.h"
#include "cpp/platform/build_facts.h"
#include "cpp/platform/platform.h"
#include "engine.h"
#include "errors.h"
#include "file_lock.h"
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

// cuda(): { architectures, runtime, driver, driverServes, fault: string, gpus: { name, computeCapability, bytes }[] }
Napi::Value cuda(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CudaFacts found = cudaFacts();
  Napi::Object facts = Napi::Object::New(env);
  facts.Set("architectures", found.architectures);
  facts.Set("runtime", found.runtime);
  facts.Set("driver", found.driver);
  facts.Set("driverServes", found.driverServes);
  facts.Set("fault", found.fault);
  Napi::Array gpus = Napi::Array::New(env);
  for (const Gpu& each : found.gpus) {
    Napi::Object gpu = Napi::Object::New(env);
    gpu.Set("name", each.name);
    gpu.Set("computeCapability", each.computeCapability);
    gpu.Set("bytes", static_cast<double>(each.bytes));
    gpus.Set(gpus.Length(), gpu);
  }
  facts.Set("gpus", gpus);
  return facts;
}

// openOnnxRuntime(libonnxruntime: string): string, the folder in which it looks for its providers
Napi::Value openOnnxRuntime(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&]() -> Napi::Value {
    ort::open(platform::toPath(toString(info[0])));
    return Napi::String::New(info.Env(), platform::toUtf8(ort::providerFolder()));
  });
}

// loadCudaProvider(): of the ONNX Runtime that is open
void loadCudaProvider(const Napi::CallbackInfo& info) {
  guard(info.Env(), [] { ort::loadCudaProvider(); });
}

// hasCudaProvider(): boolean
Napi::Value hasCudaProvider(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), ort::hasCudaProvider());
}

// onnxRuntimeVersion(): string, by its own word; empty before an engine has opened it
Napi::Value onnxRuntimeVersion(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), ort::version()); }

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  // A worker that alone loaded the addon would unload it at exit, under threads that may still be returning.
  platform::pinOwnLibrary();
  auto* data = new AddonData();
  env.SetInstanceData(data);
  const Napi::Function session = SessionClass::define(env), tensor = TensorClass::define(env),
                       particles = ParticlesClass::define(env);
  data->session = Napi::Persistent(session);
  data->tensor = Napi::Persistent(tensor);
  data->particles = Napi::Persistent(particles);
  exports.Set("setErrorClass", Napi::Function::New<setErrorClass>(env, "setErrorClass"));
  exports.Set("build", Napi::Function::New<build>(env, "build"));
  exports.Set("cuda", Napi::Function::New<cuda>(env, "cuda"));
  exports.Set("openOnnxRuntime", Napi::Function::New<openOnnxRuntime>(env, "openOnnxRuntime"));
  exports.Set("loadCudaProvider", Napi::Function::New<loadCudaProvider>(env, "loadCudaProvider"));
  exports.Set("hasCudaProvider", Napi::Function::New<hasCudaProvider>(env, "hasCudaProvider"));
  exports.Set("onnxRuntimeVersion", Napi::Function::New<onnxRuntimeVersion>(env, "onnxRuntimeVersion"));
  exports.Set("stopEngines", Napi::Function::New<stopEngines>(env, "stopEngines"));
  exports.Set(EngineClass::kName, EngineClass::define(env));
  exports.Set("createParticles", Napi::Function::New<ParticlesClass::create>(env, "createParticles"));
  exports.Set(RecorderClass::kName, RecorderClass::define(env));
  exports.Set(FileLockClass::kName, FileLockClass::define(env));
  exports.Set("planMemory", Napi::Function::New<ParticlesClass::plan>(env, "planMemory"));
  defineKernels(env, exports);
  return exports;
}

}  // namespace
}  // namespace fkinv::binding

static Napi::Object initialise(Napi::Env env, Napi::Object exports) { return fkinv::binding::initialise(env, exports); }
NODE_API_MODULE(NODE_GYP_MODULE_NAME, initialise)
