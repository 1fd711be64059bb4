// Where tensors live and kernels run: memory, the order of what is done with it, and how ONNX Runtime is to run there.
// Kernels are values (ops/ops.h), so that a device knows none of them by name. The CPU is one device (cpu_device.h);
// callers see this interface only, and another device is another implementation of it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/redraw.h"
#include "machine_limits.h"
#include "ops/ops.h"

struct OrtRunOptions;
struct OrtSessionOptions;

namespace fkinv {

using kernels::Block;
using kernels::Draws;
using kernels::Due;
using kernels::Layout;
using kernels::Logits;
using kernels::Redraw;
using kernels::RowStats;
using kernels::TileTable;

/// A graph to be run on each of `rows` rows; the name of its model and the bytes of a row's inputs are for the
/// recorder.
struct Forward {
  std::string_view model;
  int64_t rows;
  std::function<int64_t(int64_t row)> inputBytes;
};

/// A point in the order of a device's work.
class Mark {
 public:
  virtual ~Mark() = default;
  /// Milliseconds from when the device came to `earlier`, a mark of its own, to when it came to this one, by its own
  /// clock; waits until it has. Throws Error "CUDA_FAILED".
  virtual double since(const Mark& earlier) const = 0;
};

/// Work is done in the order of the calls. Pointers and spans named "device" in comments are to the device's own
/// memory; every other span is the host's. Only wait(), download(), eachRow() and measureLimits() wait; upload() has
/// read `host` when it returns.
class Device {
 public:
  virtual ~Device() = default;

  /// What ONNX Runtime knows the device's memory by: "Cpu" and 0, "Cuda" and the GPU's number.
  virtual const char* memoryName() const = 0;
  virtual int memoryIndex() const = 0;
  /// Whether the device's memory is the host's, which ONNX Runtime may read wherever it runs.
  virtual bool isHost() const = 0;
  /// The most prompt positions that the kernels take.
  virtual int maxPositions() const = 0;
  /// What ONNX Runtime calls the pinned memory of the host that copies go through; null where there is none.
  virtual const char* pinnedMemoryName() const = 0;
  /// Makes a session run on this device, and its runs follow the order of the other calls. With `cudaGraphs`, for a
  /// device that has them, a run may be captured as a CUDA graph, and be replayed.
  virtual void configure(OrtSessionOptions* options, bool cudaGraphs) const = 0;
  virtual void configure(OrtRunOptions* options) const = 0;
  /// Runs the graph of row 0 … rows − 1, one run a call, in the order and at the concurrency the device is best at, and
  /// returns when all are done. The first exception is rethrown.
  virtual void eachRow(const Forward&, const std::function<void(int64_t)>& run) = 0;

  /// Whether a session's runs can be captured and replayed there.
  virtual bool hasCudaGraphs() const = 0;
  /// Calls `run`, which captures what this thread gives the device to do: until it returns no other thread gives it
  /// any.
  virtual void capture(const std::function<void()>& run) = 0;

  /// Returns when all that was queued has been done.
  virtual void wait() const noexcept = 0;

  /// A point behind all that was queued; null on a device that queues nothing, whose calls return when they are done.
  virtual std::unique_ptr<Mark> mark() noexcept = 0;
  /// Until leave() the device's own profiler, should one be attached, has what is called under `name`; they nest.
  virtual void enter(const char* name) noexcept = 0;
  virtual void leave() noexcept = 0;

  /// What the device can do at most, measured now.
  virtual Limits measureLimits() = 0;

  /// Bytes that can be allocated once all that was queued is done; nothing where only the system knows, as on a CPU.
  virtual std::optional<std::size_t> freeBytes() { return std::nullopt; }
  virtual void* allocate(std::size_t bytes) = 0;  // throws Error "OUT_OF_MEMORY"
  virtual void release(void* memory) noexcept = 0;
  virtual void upload(void* to, const void* host, std::size_t bytes) = 0;
  virtual void download(void* host, const void* from, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;

  /// Tiles of a chunk of TileTable::gram, as its kernels have them.
  virtual int chunkTiles() const = 0;

  /// Runs one kernel.
  virtual void run(const ops::Op&) = 0;
};

/// Has what is called during its lifetime under `name` (Device::enter).
class Range {
 public:
  Range(Device& device, const char* name) noexcept : device_(device) { device_.enter(name); }
  ~Range() { device_.leave(); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  Device& device_;
};

/// `size` values of T on a device, released with it.
template <class T>
class Array {
 public:
  Array() = default;
  Array(std::shared_ptr<Device> device, std::size_t size)
      : device_(std::move(device)), size_(size), data_(static_cast<T*>(device_->allocate(size * sizeof(T)))) {}
  Array(std::shared_ptr<Device> device, std::span<const T> host) : Array(std::move(device), host.size()) {
    upload(host);
  }
  Array(Array&& other) noexcept { swap(other); }
  Array& operator=(Array&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Array() {
    if (data_ != nullptr) device_->release(data_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }
  std::span<const T> span() const { return {data_, size_}; }

  void upload(std::span<const T> host) { device_->upload(data_, host.data(), host.size_bytes()); }
  std::vector<T> download() const { return download(0, size_); }
  std::vector<T> download(std::size_t first, std::size_t count) const {
    std::vector<T> host(count);
    device_->download(host.data(), data_ + first, count * sizeof(T));
    return host;
  }

 private:
  void swap(Array& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
  }

  std::shared_ptr<Device> device_;
  std::size_t size_ = 0;
  T* data_ = nullptr;
};

}  // namespace fkinv
