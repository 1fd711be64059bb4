// A model graph, loaded.
#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cuda_graphs.h"
#include "device/device.h"
#include "engine/cancel.h"
#include "library.h"

namespace fkinv::ort {

/// One input or output of a graph. Dynamic axes are −1.
struct TensorInfo {
  std::string name;
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;
};

/// "float32", "int64", … as error messages and the API say it.
const char* typeName(ONNXTensorElementDataType type);
std::size_t typeBytes(ONNXTensorElementDataType type);

/// How a graph is loaded.
struct SessionOptions {
  GraphOptimizationLevel optimization = ORT_ENABLE_ALL;
  /// On a device that has CUDA graphs, runs are captured and replayed.
  bool cudaGraphs = false;
  /// The device's own copy of the weights, laid out as its kernels read them. Without one those of a file beside the
  /// graph stay mapped from there.
  bool prepacking = true;
};

/// A graph loaded for a device, which lives as long: the graph may hold its stream. Run through a Binding.
class Session {
 public:
  /// Throws Error "MODEL_INVALID", or "ABORTED" when `cancel` fires while it loads.
  Session(const std::filesystem::path& path, const SessionOptions& options, std::shared_ptr<Device> device,
          CancelToken& cancel);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::vector<TensorInfo>& inputs() const { return inputs_; }
  const std::vector<TensorInfo>& outputs() const { return outputs_; }
  /// Type of the input or output `name`.
  ONNXTensorElementDataType typeOf(const std::string& name) const;
  /// Axes of the input or output `name`; 0 where there is none.
  std::size_t rankOf(const std::string& name) const;
  /// Whether ONNX Runtime reads the input `name` on the host though the device's memory is not that: where a node runs
  /// on the CPU that has it. What is bound in the device's memory it would copy as it is bound, not as it is run.
  bool readsOnHost(const std::string& name) const { return hostInputs_.count(name) == 1; }
  const std::filesystem::path& path() const { return path_; }
  OrtSession* handle() const { return session_.get(); }
  /// The graphs of its runs; null where they are not captured.
  CudaGraphs* cudaGraphs() const { return cudaGraphs_.get(); }

 private:
  const TensorInfo* find(const std::string& name) const;

  std::filesystem::path path_;
  std::shared_ptr<Device> device_;  // before the session, which ends first
  // Allocates the device's pinned memory. It outlives the session by a destructor's length, and no longer: see there.
  std::unique_ptr<OrtAllocator, Releaser<OrtAllocator, &OrtApi::ReleaseAllocator>> pinned_;
  std::unique_ptr<OrtSession, Releaser<OrtSession, &OrtApi::ReleaseSession>> session_;
  std::unique_ptr<CudaGraphs> cudaGraphs_;
  std::vector<TensorInfo> inputs_, outputs_;
  std::set<std::string> hostInputs_;
};

}  // namespace fkinv::ort
