// A session's inputs and outputs, bound to memory that is allocated once and used again.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda_graphs.h"
#include "device/device.h"
#include "error.h"
#include "session.h"

namespace fkinv::ort {

/// Buffers of one caller for one session, on the caller's device: the rows of a forward lie one after the other, and
/// each row is a run of the graph with a leading axis of 1, which the device starts (Device::eachRow).
///
/// Why one row at a time: ONNX Runtime does not promise that a row's result is the same whatever the batch or the
/// number of threads (with several of each, the last bits of the demo models' results do differ). A single row on a
/// single thread is the same computation every time, so a prompt depends neither on what it is packed with nor on the
/// threads.
class Binding {
 public:
  /// `model` is what a recorder calls its runs.
  Binding(std::shared_ptr<Session> session, std::shared_ptr<Device> device, std::string model);

  /// Device memory of tensor `name` for `rows` rows of `rowShape` (the graph's shape less its leading axis): written
  /// before run(), or read after it. The memory grows to the largest size asked for; the pointer holds until the next
  /// call for the same name.
  void* input(const std::string& name, ONNXTensorElementDataType type, int64_t rows,
              const std::vector<int64_t>& rowShape);
  void* output(const std::string& name, ONNXTensorElementDataType type, int64_t rows,
               const std::vector<int64_t>& rowShape);
  /// Device memory of an input of `shape`, its leading axis included, that every row's run is given as it is.
  void* sharedInput(const std::string& name, ONNXTensorElementDataType type, const std::vector<int64_t>& shape);

  /// A row that ONNX Runtime could not run, with its Error "MODEL_RUN", or "OUT_OF_MEMORY".
  struct Failure {
    int64_t row;
    Error error;
  };

  /// Runs the graph on the first `rows` rows and returns those that failed, in order. Where `widths` [rows] is given,
  /// it replaces the last axis of every input: rows of their own width, each at the start of the memory for the widest.
  /// Throws Error "ABORTED" when `cancel` fires before or during.
  std::vector<Failure> run(int64_t rows, CancelToken& cancel, std::span<const int32_t> widths = {});
  /// Runs `rows` only, each a number below the rows there is memory for; `widths` [rows] are theirs.
  std::vector<Failure> run(std::span<const int64_t> rows, CancelToken& cancel, std::span<const int32_t> widths = {});

  /// Device memory held now.
  std::size_t bytes() const;

 private:
  struct Slot {
    bool isInput;
    bool isShared;  // by all rows
    std::string name;
    ONNXTensorElementDataType type;
    std::vector<int64_t> shape;  // of one row, its leading axis included
    std::size_t rowBytes;
    Array<uint8_t> memory;
  };
  // What one row's run reads and writes.
  struct Row {
    int32_t width = 0;  // in place of the last axis of the inputs; −1 where it is theirs, 0 before it is bound
    std::vector<BoundTensor> tensors;
    std::vector<std::vector<uint8_t>> onHost;  // the inputs that ONNX Runtime reads there
    std::optional<BoundRun> run;
    int64_t inputBytes = 0;
  };
  void* prepare(bool isInput, bool isShared, const std::string& name, ONNXTensorElementDataType type, int64_t rows,
                std::vector<int64_t> shape);
  Row bindRow(std::size_t row, int32_t width);
  std::string runRow(const Row& row, const CancelToken& cancel) const;

  std::shared_ptr<Session> session_;
  std::shared_ptr<Device> device_;
  const std::string model_;
  std::vector<Slot> slots_;
  std::vector<Row> rows_;  // bound as they are first run, and anew when a slot's memory or shape or their width changes
  MemoryInfo memory_;
  RunOptions runOptions_;
};

}  // namespace fkinv::ort
