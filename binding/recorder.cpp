#include "recorder.h"

#include "args.h"
#include "cpp/profiling/recording_device.h"
#include "engine.h"

namespace fkinv::binding {
namespace {

// Milliseconds of the clock that spans are taken with.
double milliseconds(Recorder::Clock::time_point time) {
  return std::chrono::duration<double, std::milli>(time.time_since_epoch()).count();
}

const char* nameOf(SpanKind kind) {
  switch (kind) {
    case SpanKind::kernel:
      return "kernel";
    case SpanKind::forward:
      return "forward";
    case SpanKind::modelRun:
      return "model";
    case SpanKind::wait:
      return "wait";
  }
  return "";
}

Napi::Object toObject(Napi::Env env, const Span& span) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", span.name);
  object.Set("kind", nameOf(span.kind));
  object.Set("thread", span.thread);
  object.Set("start", milliseconds(span.start));
  object.Set("end", milliseconds(span.end));
  object.Set("bytes", static_cast<double>(span.cost.bytes));
  object.Set("flops", span.cost.flops == Cost::kUnknown ? env.Null()
                                                        : Napi::Number::New(env, static_cast<double>(span.cost.flops)));
  return object;
}

}  // namespace

Napi::Function RecorderClass::define(Napi::Env env) {
  return DefineClass(env, kName,
                     {InstanceMethod<&RecorderClass::now>("now"), InstanceMethod<&RecorderClass::take>("take")});
}

RecorderClass::RecorderClass(const Napi::CallbackInfo& info) : ObjectWrap(info) { Value().TypeTag(&kTag); }

std::shared_ptr<Device> RecorderClass::deviceOf(const Jobs& jobs, Napi::Value recorder) {
  std::shared_ptr<Device> device = jobs.engine(recorder.Env()).device();
  if (recorder.IsUndefined()) return device;
  return std::make_shared<RecordingDevice>(device, unwrap<RecorderClass>(recorder).recorder_);
}

// now(): number, milliseconds of the clock of the spans
Napi::Value RecorderClass::now(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), milliseconds(Recorder::Clock::now()));
}

// take(engine: Engine): Promise<{ name, kind, thread, start, end, bytes, flops }[]>, all spans so far: the engine's
// thread asks its device for what only that knows
Napi::Value RecorderClass::take(const Napi::CallbackInfo& info) {
  return unwrap<EngineClass>(info[0])
      .jobs(info.Env())
      ->run(
          info.Env(), std::make_shared<CancelToken>(), [recorder = recorder_] { return recorder->take(); },
          [](Napi::Env env, const std::vector<Span>& spans) -> Napi::Value {
            Napi::Array array = Napi::Array::New(env);
            for (const Span& span : spans) array.Set(array.Length(), toObject(env, span));
            return array;
          });
}

}  // namespace fkinv::binding
