// A session's inputs and outputs, bound to memory that is allocated once and used again.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../device.h"
#include "session.h"

namespace fkinv::ort {

/// Buffers of one caller for one session, on the caller's device. A buffer grows to the largest shape asked for and
/// stays; its OrtValue is made anew only when the shape changes.
class Binding {
 public:
  Binding(std::shared_ptr<Session> session, std::shared_ptr<Device> device);

  /// The device memory bound to `name` for a tensor of `type` and `shape`: written before run(), or read after it. The
  /// pointer holds until the next call for the same name.
  void* input(const std::string& name, ONNXTensorElementDataType type, const std::vector<int64_t>& shape);
  void* output(const std::string& name, ONNXTensorElementDataType type, const std::vector<int64_t>& shape);

  /// Runs the graph. Throws Error "MODEL_RUN", or "ABORTED" when `cancel` fires before or during the run.
  void run(CancelToken& cancel);

  const Session& session() const { return *session_; }
  /// Device memory held now.
  std::size_t bytes() const;

 private:
  using Value = std::unique_ptr<OrtValue, Releaser<OrtValue, &OrtApi::ReleaseValue>>;
  struct Slot {
    std::string name;
    ONNXTensorElementDataType type;
    std::vector<int64_t> shape;
    Array<uint8_t> memory;
    Value value;
  };
  /// The slot of `name`, with its memory and value made for `shape`; `changed` tells whether it must be bound anew.
  Slot& prepare(std::vector<Slot>& slots, const std::string& name, ONNXTensorElementDataType type,
                const std::vector<int64_t>& shape, bool& changed);

  std::shared_ptr<Session> session_;
  std::shared_ptr<Device> device_;
  std::vector<Slot> inputs_, outputs_;
  std::unique_ptr<OrtMemoryInfo, Releaser<OrtMemoryInfo, &OrtApi::ReleaseMemoryInfo>> memoryInfo_;
  std::unique_ptr<OrtIoBinding, Releaser<OrtIoBinding, &OrtApi::ReleaseIoBinding>> binding_;
  std::unique_ptr<OrtRunOptions, Releaser<OrtRunOptions, &OrtApi::ReleaseRunOptions>> runOptions_;
};

}  // namespace fkinv::ort
