#include "session.h"

#include <variant>

#include "addon_data.h"
#include "args.h"
#include "cpp/error.h"
#include "cpp/ort/binding.h"
#include "errors.h"
#include "tensor.h"

namespace fkinv::binding {
namespace {

using Shape = std::vector<int64_t>;

// One tensor given by JavaScript: { name, data: Float32Array | BigInt64Array, rowShape: number[] }.
struct Input {
  std::string name;
  std::variant<std::vector<float>, std::vector<int64_t>> data;
  Shape rowShape;
};

Shape toShape(Napi::Value value) {
  const Napi::Object array = toObject(value);
  Shape shape;
  for (uint32_t i = 0; i < array.As<Napi::Array>().Length(); ++i) shape.push_back(toInt(array.Get(i)));
  return shape;
}

Input toInput(Napi::Value value) {
  const Napi::Object object = toObject(value);
  const Napi::Value data = object.Get("data");
  Input input = {toString(object.Get("name")), {}, toShape(object.Get("rowShape"))};
  const bool isFloat = data.IsTypedArray() && data.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array;
  if (isFloat) {
    input.data = toVector<float>(data);
  } else {
    input.data = toVector<int64_t>(data);
  }
  return input;
}

void bind(ort::Binding& binding, Device& device, int rows, const Input& input) {
  std::visit(
      [&](const auto& data) {
        using T = typename std::decay_t<decltype(data)>::value_type;
        constexpr auto type =
            std::is_same_v<T, float> ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
        device.upload(binding.input(input.name, type, rows, input.rowShape), data.data(), data.size() * sizeof(T));
      },
      input.data);
}

Napi::Value describe(Napi::Env env, const std::vector<ort::TensorInfo>& tensors) {
  Napi::Array all = Napi::Array::New(env);
  for (const ort::TensorInfo& tensor : tensors) {
    Napi::Object object = Napi::Object::New(env);
    Napi::Array shape = Napi::Array::New(env);
    for (int64_t extent : tensor.shape) shape.Set(shape.Length(), static_cast<double>(extent));
    object.Set("name", tensor.name);
    object.Set("type", ort::typeName(tensor.type));
    object.Set("shape", shape);
    all.Set(all.Length(), object);
  }
  return all;
}

}  // namespace

Napi::Function SessionClass::define(Napi::Env env) {
  return DefineClass(
      env, kName,
      {InstanceAccessor<&SessionClass::inputs>("inputs"), InstanceAccessor<&SessionClass::outputs>("outputs"),
       InstanceMethod<&SessionClass::run>("run"), InstanceMethod<&SessionClass::dispose>("dispose")});
}

SessionClass::SessionClass(const Napi::CallbackInfo& info) : ObjectWrap(info) { Value().TypeTag(&kTag); }

Napi::Object SessionClass::create(Napi::Env env, std::shared_ptr<Jobs> jobs, std::shared_ptr<ort::Session> session) {
  const Napi::Object object = addonData(env).session.New({});
  SessionClass& self = *Unwrap(object);
  self.jobs_ = std::move(jobs);
  self.session_ = std::move(session);
  return object;
}

const std::shared_ptr<ort::Session>& SessionClass::session(Napi::Env env) const {
  return guard(env, [&]() -> const std::shared_ptr<ort::Session>& {
    if (!session_) throw Error("DISPOSED", "the Inverter was disposed of: load another");
    return session_;
  });
}

Napi::Value SessionClass::inputs(const Napi::CallbackInfo& info) {
  return describe(info.Env(), session(info.Env())->inputs());
}
Napi::Value SessionClass::outputs(const Napi::CallbackInfo& info) {
  return describe(info.Env(), session(info.Env())->outputs());
}

// run(rows: number, inputs: { name, data, rowShape }[], output: string, rowShape: number[]): Promise<Tensor>
Napi::Value SessionClass::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<Input> inputs;
  const Napi::Object list = toObject(info[1]);
  for (uint32_t i = 0; i < list.As<Napi::Array>().Length(); ++i) inputs.push_back(toInput(list.Get(i)));
  auto cancel = std::make_shared<CancelToken>();
  return jobs_->run(
      env, cancel,
      [inputs = std::move(inputs), rows = toInt(info[0]), output = toString(info[2]), rowShape = toShape(info[3]),
       session = session(env), device = jobs_->engine(env).device(), cancel] {
        ort::Binding binding(session, device);
        for (const Input& input : inputs) bind(binding, *device, rows, input);
        const void* result = binding.output(output, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, rows, rowShape);
        const auto failures = binding.run(rows, *cancel);
        if (!failures.empty()) throw failures.front().error;
        auto size = static_cast<std::size_t>(rows);
        for (int64_t extent : rowShape) size *= static_cast<std::size_t>(extent);
        auto values = std::make_shared<Array<float>>(device, size);
        device->copy(values->data(), result, values->bytes());
        return std::shared_ptr<const Array<float>>(std::move(values));
      },
      [jobs = jobs_](Napi::Env e, const std::shared_ptr<const Array<float>>& values) -> Napi::Value {
        return TensorClass::create(e, jobs, values);
      });
}

// dispose(): frees the graph once nothing runs it.
void SessionClass::dispose(const Napi::CallbackInfo&) { session_.reset(); }

}  // namespace fkinv::binding
