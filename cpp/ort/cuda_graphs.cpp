#include "cuda_graphs.h"

#include <algorithm>
#include <utility>

namespace fkinv::ort {
namespace {
constexpr const char* kCode = "MODEL_RUN";

bool haveEqualShapes(std::span<const BoundTensor> a, std::span<const BoundTensor> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const BoundTensor& x, const BoundTensor& y) {
    return x.isInput == y.isInput && x.name == y.name && x.type == y.type && x.shape == y.shape;
  });
}
}  // namespace

BoundRun::BoundRun(OrtSession* session, const OrtMemoryInfo* memory, std::span<const BoundTensor> tensors)
    : session_(session) {
  OrtIoBinding* binding = nullptr;
  check(api().CreateIoBinding(session, &binding), kCode, "creating the I/O binding");
  binding_.reset(binding);
  const MemoryInfo onHost = hostMemory();
  for (const BoundTensor& tensor : tensors) {
    OrtValue* value = nullptr;
    const OrtMemoryInfo* place = tensor.source != nullptr ? onHost.get() : memory;
    check(api().CreateTensorWithDataAsOrtValue(place, tensor.data, tensor.bytes, tensor.shape.data(),
                                               tensor.shape.size(), tensor.type, &value),
          kCode, "creating a tensor");
    values_.emplace_back(value);
    const auto bind = tensor.isInput ? api().BindInput : api().BindOutput;
    check(bind(binding, tensor.name.c_str(), value), kCode, ("binding " + tensor.name).c_str());
  }
}

std::string BoundRun::run(const OrtRunOptions* options) const {
  return messageOf(api().RunWithBinding(session_, options, binding_.get()));
}

MemoryInfo memoryOf(const Device& device) {
  OrtMemoryInfo* raw = nullptr;
  check(api().CreateMemoryInfo(device.memoryName(), OrtDeviceAllocator, device.memoryIndex(), OrtMemTypeDefault, &raw),
        kCode, "describing memory");
  return MemoryInfo(raw);
}

MemoryInfo hostMemory() {
  OrtMemoryInfo* raw = nullptr;
  check(api().CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &raw), kCode, "describing memory");
  return MemoryInfo(raw);
}

RunOptions runOptionsOf(const Device& device, std::optional<int> cudaGraph) {
  OrtRunOptions* raw = nullptr;
  check(api().CreateRunOptions(&raw), kCode, "creating run options");
  RunOptions options(raw);
  device.configure(raw);
  if (cudaGraph) {
    check(api().AddRunConfigEntry(raw, "gpu_graph_id", std::to_string(*cudaGraph).c_str()), kCode,
          "setting run options");
  }
  return options;
}

CudaGraphs::CudaGraphs(OrtSession* session, std::shared_ptr<Device> device)
    : session_(session), device_(std::move(device)) {}

CudaGraphs::Graph CudaGraphs::make(std::span<const BoundTensor> tensors) {
  Graph graph = {{}, {tensors.begin(), tensors.end()}, {}, runOptionsOf(*device_, ++made_)};
  for (BoundTensor& tensor : graph.tensors) {
    tensor.data = graph.memory.emplace_back(device_, tensor.bytes).data();
  }
  graph.run.emplace(session_, memoryOf(*device_).get(), graph.tensors);
  return graph;
}

// A run is never stopped half way, nor is a graph used again that a run failed with: ONNX Runtime keeps what it
// captured by then as the whole.
std::optional<std::string> CudaGraphs::run(std::span<const BoundTensor> tensors) {
  const auto isOnHost = [](const BoundTensor& tensor) { return tensor.source != nullptr; };
  if (std::any_of(tensors.begin(), tensors.end(), isOnHost)) return std::nullopt;
  auto graph = std::find_if(graphs_.begin(), graphs_.end(),
                            [&](const Graph& each) { return haveEqualShapes(each.tensors, tensors); });
  const bool isNew = graph == graphs_.end();
  if (isNew && made_ == kMost) return std::nullopt;
  if (isNew) graph = graphs_.insert(graphs_.end(), make(tensors));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].isInput) device_->copy(graph->tensors[i].data, tensors[i].data, tensors[i].bytes);
  }
  std::string message;
  const auto run = [&] { message = graph->run->run(graph->options.get()); };
  if (isNew) {
    device_->capture(run);
  } else {
    run();
  }
  if (!message.empty()) {
    graphs_.erase(graph);
    return isNew ? message + " (as it was captured as a CUDA graph: without cudaGraphs it may run)" : message;
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i].isInput) device_->copy(tensors[i].data, graph->tensors[i].data, tensors[i].bytes);
  }
  return message;
}

}  // namespace fkinv::ort
