#include "session.h"

#include <algorithm>
#include <variant>

#include "addon_data.h"
#include "args.h"
#include "cpp/error.h"
#include "cpp/kernels/widen.h"
#include "cpp/ort/binding.h"
#include "cpp/ort/typed.h"
#include "errors.h"
#include "recorder.h"
#include "tensor.h"

namespace fkinv::binding {
namespace {

using Shape = std::vector<int64_t>;

// One tensor given by JavaScript: { name, data: Float32Array | BigInt64Array, rowShape: number[], isShared?: boolean }.
struct Input {
  std::string name;
  std::variant<std::vector<float>, std::vector<int64_t>> data;
  Shape rowShape;
  bool isShared;
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
  const bool isShared = object.Get("isShared").ToBoolean();
  Input input = {toString(object.Get("name")), {}, toShape(object.Get("rowShape")), isShared};
  const bool isFloat = data.IsTypedArray() && data.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array;
  if (isFloat) {
    input.data = toVector<float>(data);
  } else {
    input.data = toVector<int64_t>(data);
  }
  return input;
}

template <class T>
constexpr ONNXTensorElementDataType elementType() {
  return std::is_same_v<T, float> ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
}

// The values as the graph has them: whole numbers in 64 or 32 bits, floats in 32 or 16.
void bind(ort::Binding& binding, Device& device, int rows, const Input& input, ONNXTensorElementDataType type) {
  void* const memory = input.isShared ? binding.sharedInput(input.name, type, input.rowShape)
                                      : binding.input(input.name, type, rows, input.rowShape);
  const auto upload = [&](const auto& data) {
    using T = typename std::decay_t<decltype(data)>::value_type;
    if (type == elementType<T>()) return device.upload(memory, data.data(), data.size() * sizeof(T));
    const std::vector<uint8_t> bytes = ort::typed(std::vector<double>(data.begin(), data.end()), type);
    device.upload(memory, bytes.data(), bytes.size());
  };
  std::visit(upload, input.data);
}

// What run() is asked for: rows of one output.
struct Run {
  std::shared_ptr<ort::Session> session;
  std::shared_ptr<Device> device;
  std::string model;
  int rows;
  std::vector<Input> inputs;
  std::string output;
  Shape rowShape;
};

std::vector<Input> toInputs(Napi::Value value) {
  const Napi::Object list = toObject(value);
  std::vector<Input> inputs;
  for (uint32_t i = 0; i < list.As<Napi::Array>().Length(); ++i) inputs.push_back(toInput(list.Get(i)));
  return inputs;
}

// The output's values as they are, on the device; `type` is one that a T holds.
template <class T>
std::shared_ptr<const Array<T>> execute(const Run& run, CancelToken& cancel,
                                        ONNXTensorElementDataType type = elementType<T>()) {
  ort::Binding binding(run.session, run.device, run.model);
  for (const Input& input : run.inputs) {
    bind(binding, *run.device, run.rows, input, run.session->typeOf(input.name));
  }
  const void* result = binding.output(run.output, type, run.rows, run.rowShape);
  const auto failures = binding.run(run.rows, cancel);
  if (!failures.empty()) throw failures.front().error;
  auto size = static_cast<std::size_t>(run.rows);
  for (int64_t extent : run.rowShape) size *= static_cast<std::size_t>(extent);
  auto values = std::make_shared<Array<T>>(run.device, size);
  run.device->copy(values->data(), result, values->bytes());
  return values;
}

// Runs the graph for an output of 16-bit floats, and gives them as float32 on the host.
std::vector<float> executeHalf(const Run& run, CancelToken& cancel, bool isBfloat16) {
  const auto type = isBfloat16 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
  const std::vector<uint16_t> bits = execute<uint16_t>(run, cancel, type)->download();
  std::vector<float> values(bits.size());
  std::transform(bits.begin(), bits.end(), values.begin(), isBfloat16 ? kernels::widenBfloat16 : kernels::widenFloat16);
  return values;
}

// The output's values on the device, in float32 whatever the graph gives. Those of 16 bits are few, an image's
// features, and are widened on the host.
std::shared_ptr<const Array<float>> executeFloat(const Run& run, CancelToken& cancel) {
  const ONNXTensorElementDataType type = run.session->typeOf(run.output);
  const bool isBfloat16 = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
  if (!isBfloat16 && type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16) return execute<float>(run, cancel);
  const std::vector<float> values = executeHalf(run, cancel, isBfloat16);
  auto onDevice = std::make_shared<Array<float>>(run.device, values.size());
  run.device->upload(onDevice->data(), values.data(), values.size() * sizeof(float));
  return onDevice;
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

// run(rows: number, inputs: { name, data, rowShape }[], output: string, rowShape: number[]): Promise<Tensor>, of an
// output of floats; with a fifth argument "int64", of such an output Promise<BigInt64Array>, on the host; with
// "float16" or "bfloat16" Promise<Float32Array>. A sixth, { recorder: Recorder, model: string }, has the run recorded.
Napi::Value SessionClass::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const bool isRecorded = info[5].IsObject();
  const auto device = RecorderClass::deviceOf(*jobs_, isRecorded ? toObject(info[5]).Get("recorder") : env.Undefined());
  const auto model = isRecorded ? toString(toObject(info[5]).Get("model")) : std::string();
  const auto run = std::make_shared<const Run>(
      Run{session(env), device, model, toInt(info[0]), toInputs(info[1]), toString(info[2]), toShape(info[3])});
  auto cancel = std::make_shared<CancelToken>();
  const std::string type = info[4].IsString() ? toString(info[4]) : "float32";
  if (type == "float16" || type == "bfloat16") {
    return jobs_->run(
        env, cancel, [run, cancel, type] { return executeHalf(*run, *cancel, type == "bfloat16"); },
        [](Napi::Env e, const std::vector<float>& values) -> Napi::Value { return toTypedArray(e, values); });
  }
  if (type == "int64") {
    return jobs_->run(
        env, cancel, [run, cancel] { return execute<int64_t>(*run, *cancel)->download(); },
        [](Napi::Env e, const std::vector<int64_t>& values) -> Napi::Value { return toTypedArray(e, values); });
  }
  return jobs_->run(
      env, cancel, [run, cancel] { return executeFloat(*run, *cancel); },
      [jobs = jobs_](Napi::Env e, const std::shared_ptr<const Array<float>>& values) -> Napi::Value {
        return TensorClass::create(e, jobs, values);
      });
}

// dispose(): frees the graph once nothing runs it.
void SessionClass::dispose(const Napi::CallbackInfo&) { session_.reset(); }

}  // namespace fkinv::binding
