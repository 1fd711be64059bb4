// Where tensors live and kernels run. The CPU is one device (cpu_device.h); callers see this interface only, so another
// device is another implementation of it over kernels of the same names.
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

#include "kernels/logits.h"
#include "kernels/open.h"
#include "kernels/philox.h"
#include "kernels/resample.h"
#include "kernels/truncate.h"
#include "machine_limits.h"
#include "rewards/total.h"

struct OrtRunOptions;
struct OrtSessionOptions;

namespace fkinv {

using kernels::Logits;
using kernels::RowStats;
using kernels::TileTable;

/// How particles are laid out: image b's particles are b·perImage … b·perImage + perImage − 1, its "slots".
struct Layout {
  int images, perImage, length;
  int particles() const { return images * perImage; }
};

/// The positions of one block: which may open at this step, and how far its own schedule is.
struct Block {
  int first, last;  // [first, last)
  int step, steps;
};

/// One draw for each wanted position of each particle. Pointers are to the device's memory.
struct Draws {
  const int32_t* stateOf;         // [particles] the distinct state whose logits a particle draws from
  const uint8_t* wanted;          // [particles, length]
  const uint64_t* seeds;          // [images]
  uint32_t step;                  // steps done
  kernels::Purpose purpose;       // guess or proposal
  uint32_t guess;                 // guess number
  int32_t* tokens;                // [particles, length] written where wanted, as are the following, when given
  double* logModel = nullptr;     // [particles, length] log p of the token
  double* logProposal = nullptr;  // [particles, length] log τ of the token
};

/// A draw at one place, with the tokens that have probability 0 there.
struct Redraw {
  int particle, position;
  std::vector<int32_t> excluded;
};

/// Which images are resampled (kernels/resample.h, isDue): of those that live. Pointers are to the device's memory.
struct Due {
  const uint8_t* live;  // [images]
  const double* ess;    // [images]
  double threshold;
};

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
  /// Whether that is the host's memory, which ONNX Runtime may read wherever it runs.
  virtual bool isHost() const = 0;
  /// The most prompt positions that the kernels take.
  virtual int maxPositions() const = 0;
  /// And the host's memory that its copies go through; null where there is none.
  virtual const char* pinnedMemoryName() const = 0;
  /// Makes a session run on this device, and its runs follow the order of the other calls. With `cudaGraphs`, for a
  /// device that has them, a run may be captured as a CUDA graph, and be replayed.
  virtual void configure(OrtSessionOptions* options, bool cudaGraphs) const = 0;
  virtual void configure(OrtRunOptions* options) const = 0;
  /// Runs the graph of row 0 … rows − 1, one run a call, in the order and at the concurrency the device is best at, and
  /// returns when all are done. The first exception is rethrown.
  virtual void eachRow(const Forward&, const std::function<void(int64_t)>& run) = 0;

  /// Whether runs on it can be captured.
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

  /// Tiles of a chunk of TileTable::gram.
  virtual int chunkTiles() const = 0;

  // The kernels of kernels.md; shapes, formulas and sources stand at the functions of the same names in kernels/.
  virtual void suppress(const Logits&, std::span<const int32_t> ids,
                        std::span<const uint8_t> at) = 0;  // device spans
  virtual void pass(const Logits&, double temperature, const TileTable&) = 0;
  virtual void merge(const Logits&, double temperature, const TileTable&, const RowStats&) = 0;
  /// Every row without a fault.
  virtual void truncate(const Logits&, double temperature, kernels::Truncation, const TileTable&, const RowStats&) = 0;
  /// wanted[p, n] = tokens[p, n] is `maskId`, n lies in [first, last) and p's image is live [images].
  virtual void masked(const Layout&, const uint8_t* live, int32_t maskId, const int32_t* tokens, int first, int last,
                      uint8_t* wanted) = 0;
  /// Where the row of a particle's state has a fault, wanted[p, n] = 0 and tokens[p, n] = −1 − the fault.
  virtual void exclude(const Layout&, const int32_t* stateOf, const kernels::RowFault* faults, uint8_t* wanted,
                       int32_t* tokens) = 0;
  /// The order `random`: opened[p, n] = wanted[p, n], and the position opens at this step of its block.
  virtual void open(const Layout&, const uint64_t* seeds, uint32_t step, const Block&, const uint8_t* wanted,
                    uint8_t* opened) = 0;
  /// scores[p, n] of the wanted positions, the higher the earlier they open: confidence (from logModel), or minus the
  /// entropy, or the margin.
  virtual void score(kernels::Order, const Logits&, const TileTable&, const RowStats&, const Layout&,
                     const int32_t* stateOf, const uint8_t* wanted, const double* logModel, double* scores) = 0;
  /// opened[p, n] of the `count` wanted positions of highest score of each particle.
  virtual void choose(const Layout&, const double* scores, const uint8_t* wanted, int count, uint8_t* opened) = 0;
  virtual void draw(const Logits&, double temperature, const TileTable&, const RowStats&, const Layout&,
                    const Draws&) = 0;
  /// Draws at the places of `redraws` (the host's) only, with their tokens suppressed (kernels/redraw.h); returns the
  /// tokens drawn, −1 where nothing is left and nothing was written.
  virtual std::vector<int32_t> redraw(const Logits&, double temperature, kernels::Truncation, const Layout&,
                                      const Draws&, std::span<const Redraw> redraws) = 0;
  /// tokens[p, n] = drawn[p, n] where the position opened.
  virtual void place(const Layout&, const uint8_t* opened, const int32_t* drawn, int32_t* tokens) = 0;
  /// logProb[p] gains Σ log p of the positions that opened, logWeights[p] Σ (log p − log τ) of those drawn.
  virtual void accept(const Layout&, const uint8_t* opened, const uint8_t* drawn, const double* logModel,
                      const double* logProposal, double* logProb, double* logWeights) = 0;
  /// counted [particles, length] (kernels/coupling.h).
  virtual void count(const Layout&, const int32_t* tokens, std::span<const int32_t> stops, bool all,
                     uint8_t* counted) = 0;  // device span
  /// rewardEdit[p] of S of p's state over p's counted positions.
  virtual void coupling(const Layout&, const float* gram, const int32_t* stateOf, const uint8_t* counted,
                        double* rewardEdit) = 0;
  /// rewardClip[p] = cos(text embedding textOf[p], image embedding of p's image); embeddings are `size` floats a row.
  virtual void cosine(const Layout&, const float* texts, const int32_t* textOf, const float* images, int size,
                      double* rewardClip) = 0;
  /// Several images as one reference (kernels/average.h); one is taken as it is.
  virtual void average(std::span<const float* const> embeddings, int size, float* mean) = 0;
  /// total[p] of the rewards (rewards/total.h), and its difference to the total before it, log G_t, added to
  /// logWeights[p].
  virtual void weigh(const Layout&, int guesses, const WeightedRewards&, const double* previousTotal, double* total,
                     double* logWeights) = 0;
  /// ess [images]; NaN where the weights of an image are useless (kernels/resample.h).
  virtual void effectiveSampleSize(const Layout&, const double* logWeights, double* ess) = 0;
  /// ancestors [particles]: slots within the image, and log-weights 0. Images that are not due, and not `resampled`
  /// [images], keep their particles and weights.
  virtual void resample(const Layout&, kernels::Scheme, const uint64_t* seeds, uint32_t step, const Due&,
                        uint8_t* resampled, double* logWeights, int32_t* ancestors) = 0;
  /// to[p] = from[ancestor of p], rows of `rowBytes` bytes.
  virtual void gather(const Layout&, const int32_t* ancestors, const void* from, void* to, std::size_t rowBytes) = 0;
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
