// class Tensor: float32 values on the engine's device.
#pragma once
#include <napi.h>

#include "jobs.h"

namespace fkinv::binding {

class TensorClass : public Napi::ObjectWrap<TensorClass> {
 public:
  static constexpr const char* kName = "Tensor";
  static constexpr napi_type_tag kTag = {0x2f6f0c1b7d8e4a35, 0xa1b2c3d4e5f60718};
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, std::shared_ptr<Jobs> jobs, std::shared_ptr<const Array<float>> values);
  explicit TensorClass(const Napi::CallbackInfo& info);
  ~TensorClass() override;

  const std::shared_ptr<const Array<float>>& values() const { return values_; }

 private:
  Napi::Value read(const Napi::CallbackInfo& info);
  std::shared_ptr<Jobs> jobs_;
  std::shared_ptr<const Array<float>> values_;
};

}  // namespace fkinv::binding
