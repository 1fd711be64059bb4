#include "engine.h"

#include "args.h"
#include "cpp/device/devices.h"
#include "cpp/error.h"
#include "cpp/ort/library.h"
#include "cpp/platform/platform.h"
#include "errors.h"
#include "kernels.h"
#include "session.h"

namespace fkinv::binding {

Napi::Function EngineClass::define(Napi::Env env) {
  return DefineClass(
      env, kName,
      {InstanceAccessor<&EngineClass::device>("device"), InstanceAccessor<&EngineClass::maxPositions>("maxPositions"),
       InstanceMethod<&EngineClass::load>("load"), InstanceMethod<&EngineClass::measureLimits>("measureLimits"),
       InstanceMethod<&EngineClass::dispose>("dispose")});
}

// new Engine(libonnxruntime: string, threads: number, instructionSet: string, device: string)
EngineClass::EngineClass(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  Value().TypeTag(&kTag);
  guard(info.Env(), [&] {
    ort::open(platform::toPath(toString(info[0])));
    name_ = toString(info[3]);
    auto device = makeDevice(name_, toInt(info[1]), toInstructionSet(info[2]));
    maxPositions_ = device->maxPositions();
    jobs_ = Jobs::create(info.Env(), std::move(device));
  });
}

const std::shared_ptr<Jobs>& EngineClass::jobs(Napi::Env env) const {
  return guard(env, [&]() -> const std::shared_ptr<Jobs>& {
    if (!jobs_) throw Error("DISPOSED", "the Inverter was disposed of: load another");
    return jobs_;
  });
}

// device: string, as it was asked for
Napi::Value EngineClass::device(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), name_); }

// maxPositions: number, the most prompt positions that the device's kernels take
Napi::Value EngineClass::maxPositions(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), maxPositions_);
}

// load(path: string, { optimization: GraphOptimizationLevel, cudaGraphs, prepacking: boolean }): Promise<Session>
Napi::Value EngineClass::load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto& owner = jobs(env);
  auto cancel = std::make_shared<CancelToken>();
  Fields of(info[1]);
  const ort::SessionOptions options = {.optimization = static_cast<GraphOptimizationLevel>(toInt(of["optimization"])),
                                       .cudaGraphs = toBool(of["cudaGraphs"]),
                                       .prepacking = toBool(of["prepacking"])};
  of.expectNoOther();
  return owner->run(
      env, cancel,
      [path = platform::toPath(toString(info[0])), options, device = owner->engine(env).device(), cancel] {
        return std::make_shared<ort::Session>(path, options, device, *cancel);
      },
      [jobs = owner](Napi::Env e, const std::shared_ptr<ort::Session>& session) -> Napi::Value {
        return SessionClass::create(e, jobs, session);
      });
}

// measureLimits(): Promise<{ threads, flopsPerSecond, bytesPerSecond }>
Napi::Value EngineClass::measureLimits(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto& owner = jobs(env);
  return owner->run(
      env, std::make_shared<CancelToken>(), [device = owner->engine(env).device()] { return device->measureLimits(); },
      [](Napi::Env e, const Limits& limits) -> Napi::Value {
        Napi::Object object = Napi::Object::New(e);
        object.Set("threads", limits.threads);
        object.Set("flopsPerSecond", limits.flopsPerSecond);
        object.Set("bytesPerSecond", limits.bytesPerSecond);
        return object;
      });
}

// dispose(): Promise<void>. Stops the job that runs, fails those that wait, and resolves when the thread is idle.
Napi::Value EngineClass::dispose(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto deferred = Napi::Promise::Deferred::New(env);
  if (!jobs_) {
    deferred.Resolve(env.Undefined());
    return deferred.Promise();
  }
  const std::shared_ptr<Jobs> jobs = std::move(jobs_);
  jobs->engine(env).close();
  // A closed engine fails every job in its turn, this one too: its failure says that those before it are done.
  const Napi::Promise drained =
      jobs->run(env, std::make_shared<CancelToken>(), [] {}, [](Napi::Env e) { return e.Undefined(); });
  const auto stop = Napi::Function::New(env, [jobs](const Napi::CallbackInfo&) { jobs->stop(); });
  return drained.Then(stop, stop);
}

}  // namespace fkinv::binding
