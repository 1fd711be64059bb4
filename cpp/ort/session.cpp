#include "session.h"

#include "error.h"
#include "platform/platform.h"

namespace fkinv::ort {
namespace {

using Options = std::unique_ptr<OrtSessionOptions, Releaser<OrtSessionOptions, &OrtApi::ReleaseSessionOptions>>;
using TypeInfo = std::unique_ptr<OrtTypeInfo, Releaser<OrtTypeInfo, &OrtApi::ReleaseTypeInfo>>;

struct Type {
  ONNXTensorElementDataType type;
  const char* name;
  std::size_t bytes;
};
constexpr Type kTypes[] = {
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, "float32", 4},   {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, "float64", 8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, "float16", 2}, {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, "bfloat16", 2},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, "int64", 8},     {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, "int32", 4},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, "uint8", 1},     {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, "int8", 1},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, "bool", 1},       {ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, "string", 0},
};

const Type* find(ONNXTensorElementDataType type) {
  for (const Type& t : kTypes) {
    if (t.type == type) return &t;
  }
  return nullptr;
}

constexpr const char* kCode = "MODEL_INVALID";

TensorInfo describe(std::string name, OrtTypeInfo* rawType) {
  const TypeInfo typeInfo(rawType);
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  check(api().CastTypeInfoToTensorInfo(typeInfo.get(), &tensor), kCode, "reading a tensor's type");
  TensorInfo info = {std::move(name), ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, {}};
  if (tensor == nullptr)
    return info;  // a sequence or a map: no model of ours has one, and the caller refuses it by type
  std::size_t rank = 0;
  check(api().GetTensorElementType(tensor, &info.type), kCode, "reading a tensor's type");
  check(api().GetDimensionsCount(tensor, &rank), kCode, "reading a tensor's rank");
  info.shape.resize(rank);
  check(api().GetDimensions(tensor, info.shape.data(), rank), kCode, "reading a tensor's shape");
  return info;
}

using CountOf = OrtStatus* (*OrtApi::*)(const OrtSession*, std::size_t*) noexcept;
using NameOf = OrtStatus* (*OrtApi::*)(const OrtSession*, std::size_t, OrtAllocator*, char**) noexcept;
using TypeOf = OrtStatus* (*OrtApi::*)(const OrtSession*, std::size_t, OrtTypeInfo**) noexcept;

std::vector<TensorInfo> describeAll(const OrtSession* session, CountOf countOf, NameOf nameOf, TypeOf typeOf) {
  OrtAllocator* allocator = nullptr;
  check(api().GetAllocatorWithDefaultOptions(&allocator), kCode, "getting the allocator");
  std::size_t count = 0;
  check((api().*countOf)(session, &count), kCode, "counting the graph's tensors");
  std::vector<TensorInfo> all;
  for (std::size_t i = 0; i < count; ++i) {
    char* raw = nullptr;
    check((api().*nameOf)(session, i, allocator, &raw), kCode, "reading a tensor's name");
    std::string name = raw;
    check(api().AllocatorFree(allocator, raw), kCode, "freeing a tensor's name");
    OrtTypeInfo* type = nullptr;
    check((api().*typeOf)(session, i, &type), kCode, "reading a tensor's type");
    all.push_back(describe(std::move(name), type));
  }
  return all;
}

Options makeOptions(const SessionOptions& wanted, const Device& device) {
  OrtSessionOptions* raw = nullptr;
  check(api().CreateSessionOptions(&raw), kCode, "creating session options");
  Options options(raw);
  check(api().SetSessionGraphOptimizationLevel(raw, wanted.optimization), kCode, "setting the optimization level");
  if (!wanted.prepacking) {
    check(api().AddSessionConfigEntry(raw, "session.disable_prepacking", "1"), kCode, "setting the prepacking");
  }
  device.configure(raw, wanted.cudaGraphs);
  return options;
}

std::set<std::string> hostInputs(const OrtSession* session, const std::vector<TensorInfo>& inputs) {
  constexpr const char* kWhat = "asking where the graph's inputs are read";
  std::vector<const OrtMemoryInfo*> memory(inputs.size());
  check(api().SessionGetMemoryInfoForInputs(session, memory.data(), memory.size()), kCode, kWhat);
  std::set<std::string> names;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    OrtMemoryInfoDeviceType type;
    api().MemoryInfoGetDeviceType(memory[i], &type);
    if (type == OrtMemoryInfoDeviceType_CPU) names.insert(inputs[i].name);
  }
  return names;
}

// It gives null where the device has no memory of that name.
OrtAllocator* pinnedAllocator(const OrtSession* session, const Device& device) {
  if (device.pinnedMemoryName() == nullptr) return nullptr;
  OrtMemoryInfo* raw = nullptr;
  check(api().CreateMemoryInfo(device.pinnedMemoryName(), OrtArenaAllocator, device.memoryIndex(), OrtMemTypeCPUOutput,
                               &raw),
        kCode, "describing pinned memory");
  const std::unique_ptr<OrtMemoryInfo, Releaser<OrtMemoryInfo, &OrtApi::ReleaseMemoryInfo>> memoryInfo(raw);
  OrtAllocator* allocator = nullptr;
  check(api().CreateAllocator(session, raw, &allocator), kCode, "finding the session’s pinned memory");
  return allocator;
}

}  // namespace

const char* typeName(ONNXTensorElementDataType type) {
  const Type* found = find(type);
  return found != nullptr ? found->name : "an unsupported type";
}

std::size_t typeBytes(ONNXTensorElementDataType type) {
  const Type* found = find(type);
  return found != nullptr ? found->bytes : 0;
}

Session::Session(const std::filesystem::path& path, const SessionOptions& wanted, std::shared_ptr<Device> device,
                 CancelToken& cancel)
    : path_(path), device_(std::move(device)) {
  const Options options = makeOptions(wanted, *device_);
  OrtSession* raw = nullptr;
  OrtStatus* status;
  {
    const CancelToken::Guard guard(cancel, [&] {
      if (OrtStatus* failed = api().SessionOptionsSetLoadCancellationFlag(options.get(), true)) {
        api().ReleaseStatus(failed);
      }
    });
    status = api().CreateSession(environment(), path.c_str(), options.get(), &raw);
  }
  if (status != nullptr && cancel.cancelled()) {
    api().ReleaseStatus(status);
    cancel.check();
  }
  check(status, kCode, ("could not load " + platform::toUtf8(path) + " as an ONNX model").c_str());
  session_.reset(raw);
  pinned_.reset(pinnedAllocator(raw, *device_));
  if (wanted.cudaGraphs && device_->hasCudaGraphs()) cudaGraphs_ = std::make_unique<CudaGraphs>(raw, device_);
  inputs_ =
      describeAll(raw, &OrtApi::SessionGetInputCount, &OrtApi::SessionGetInputName, &OrtApi::SessionGetInputTypeInfo);
  outputs_ = describeAll(raw, &OrtApi::SessionGetOutputCount, &OrtApi::SessionGetOutputName,
                         &OrtApi::SessionGetOutputTypeInfo);
  if (!device_->isHost()) hostInputs_ = hostInputs(raw, inputs_);
}

// A session of the CUDA provider leaves pinned buffers that a callback of the stream gives back, the last of them as
// the session ends. Whoever holds their allocator last frees its memory, which no callback may: it would end the
// process.
Session::~Session() {
  cudaGraphs_.reset();
  session_.reset();
  device_->wait();
}

const TensorInfo* Session::find(const std::string& name) const {
  for (const auto* tensors : {&inputs_, &outputs_}) {
    for (const TensorInfo& tensor : *tensors) {
      if (tensor.name == name) return &tensor;
    }
  }
  return nullptr;
}

ONNXTensorElementDataType Session::typeOf(const std::string& name) const {
  const TensorInfo* tensor = find(name);
  return tensor != nullptr ? tensor->type : ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

std::size_t Session::rankOf(const std::string& name) const {
  const TensorInfo* tensor = find(name);
  return tensor != nullptr ? tensor->shape.size() : 0;
}

}  // namespace fkinv::ort
