#include "tensor.h"

#include "addon_data.h"
#include "args.h"

namespace fkinv::binding {

Napi::Function TensorClass::define(Napi::Env env) {
  return DefineClass(env, kName, {InstanceMethod<&TensorClass::read>("read")});
}

TensorClass::TensorClass(const Napi::CallbackInfo& info) : ObjectWrap(info) { Value().TypeTag(&kTag); }

TensorClass::~TensorClass() {
  if (jobs_) jobs_->drop(std::move(values_));
}

Napi::Object TensorClass::create(Napi::Env env, std::shared_ptr<Jobs> jobs,
                                 std::shared_ptr<const Array<float>> values) {
  const Napi::Object object = addonData(env).tensor.New({});
  TensorClass& self = *Unwrap(object);
  self.jobs_ = std::move(jobs);
  self.values_ = std::move(values);
  return object;
}

// read(): Promise<Float32Array>, a copy on the host. For parity checks: the sampler never calls it.
Napi::Value TensorClass::read(const Napi::CallbackInfo& info) {
  return jobs_->run(
      info.Env(), std::make_shared<CancelToken>(), [values = values_] { return values->download(); },
      [](Napi::Env env, const std::vector<float>& host) -> Napi::Value { return toTypedArray(env, host); });
}

}  // namespace fkinv::binding
