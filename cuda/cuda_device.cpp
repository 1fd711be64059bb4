#include "cuda_device.h"

#include <nvtx3/nvToolsExt.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "error.h"
#include "launchers.h"
#include "ort/library.h"

namespace fkinv {
namespace {

[[noreturn]] void fail(const char* code, const std::string& what, cudaError_t status) {
  throw Error(code, what + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

// An error here is of this call or of a kernel before it, which CUDA reports late. Where others have taken the GPU's
// memory there may be none for CUDA itself. The runtime keeps an error for whoever asks next, which may be ONNX Runtime
// after a call of its own that did not fail: it is told here, and taken back.
void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) cudaGetLastError();
  if (status == cudaErrorMemoryAllocation) fail("OUT_OF_MEMORY", what, status);
  if (status != cudaSuccess) fail("CUDA_FAILED", what, status);
}

// Where a stream stands as it is made. What fails is told by since().
class Event final : public Mark {
 public:
  explicit Event(cudaStream_t stream) noexcept : status_(cudaEventCreate(&event_)) {
    if (status_ == cudaSuccess) status_ = cudaEventRecord(event_, stream);
  }
  ~Event() override {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  double since(const Mark& earlier) const override {
    constexpr const char* kWhat = "timing the GPU";
    const auto& start = static_cast<const Event&>(earlier);
    float milliseconds = 0;
    check(start.status_, kWhat);
    check(status_, kWhat);
    check(cudaEventSynchronize(event_), kWhat);
    check(cudaEventElapsedTime(&milliseconds, start.event_, event_), kWhat);
    return static_cast<double>(milliseconds);
  }

 private:
  cudaEvent_t event_ = nullptr;
  cudaError_t status_;
};

// Whether anyone in this process has used a GPU. To choose one that nobody has would take some of its memory.
bool isInUse(int gpu) noexcept {
  constexpr unsigned kSince = 7000;  // CUDA 7.0
  using GetState = int (*)(int device, unsigned* flags, int* isActive);
  void* getState = nullptr;
  cudaDriverEntryPointQueryResult found;
  unsigned flags = 0;
  int isActive = 0;
  const auto status =
      cudaGetDriverEntryPointByVersion("cuDevicePrimaryCtxGetState", &getState, kSince, cudaEnableDefault, &found);
  if (status != cudaSuccess || getState == nullptr) return false;
  return reinterpret_cast<GetState>(getState)(gpu, &flags, &isActive) == 0 && isActive != 0;
}

// The current GPU is a matter of each thread. Some calls are made on threads that are not ours, JavaScript's or a
// library's: what these had is given back to them.
class OnGpu {
 public:
  explicit OnGpu(int index) noexcept : index_(index) {
    cudaGetDevice(&before_);
    if (before_ != index_) cudaSetDevice(index_);
  }
  ~OnGpu() {
    if (before_ != index_ && isInUse(before_)) cudaSetDevice(before_);
  }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;

 private:
  const int index_;
  int before_ = 0;
};

// What is released stays in the pool, since a step allocates what the step before did; all of it is given back with the
// pool, which is why it is one of our own: the default one belongs to the process, and others allocate from it too.
cudaMemPool_t makePool(int index) {
  cudaMemPoolProps properties = {};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = index;
  cudaMemPool_t pool = nullptr;
  check(cudaMemPoolCreate(&pool, &properties), "creating a memory pool");
  uint64_t keep = UINT64_MAX;
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "setting up the memory pool");
  return pool;
}

std::string mebibytes(std::size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

// Memory for one call, whose kernels are queued before it is given back.
class CudaDevice::Scratch {
 public:
  Scratch(CudaDevice& device, std::size_t bytes) : device_(device), data_(device.allocate(bytes)) {}
  ~Scratch() { device_.release(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  CudaDevice& device_;
  void* const data_;
};

CudaDevice::CudaDevice(int index) : index_(index) {
  constexpr const char* kCode = "CUDA_UNAVAILABLE";
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (found == cudaErrorInsufficientDriver) {
    int runtime = 0, driver = 0;
    cudaRuntimeGetVersion(&runtime);
    cudaDriverGetVersion(&driver);
    const auto release = [](int version) {
      return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
    };
    throw Error(kCode, driver == 0
                           ? "there is no NVIDIA driver: install one of version 580 or later, or use device 'cpu'"
                           : "the NVIDIA driver is too old: it serves CUDA " + release(driver) + ", this build needs " +
                                 release(runtime) + " (driver 580 or later); update it, or use device 'cpu'");
  }
  if (found != cudaSuccess) fail(kCode, "looking for a GPU", found);
  if (index >= devices) {
    throw Error(kCode, "there is no device cuda:" + std::to_string(index) + ": CUDA finds " + std::to_string(devices) +
                           " (CUDA_VISIBLE_DEVICES limits what it looks at)");
  }
  const OnGpu onGpu(index);
  check(cudaSetDevice(index), "choosing the GPU");
  pool_ = makePool(index);
  const cudaError_t made = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  if (made != cudaSuccess) cudaMemPoolDestroy(pool_);  // the destructor does not run
  check(made, "creating a stream");
}

CudaDevice::~CudaDevice() {
  const OnGpu onGpu(index_);
  cudaStreamSynchronize(stream_);
  cudaMemPoolDestroy(pool_);
  cudaStreamDestroy(stream_);
}

// The current device is a matter of the calling thread, which is the engine's. So is what it may call while another
// engine's captures: ONNX Runtime captures in the mode that forbids every thread of the process to allocate, but for
// those that look to their own captures alone.
cudaStream_t CudaDevice::stream() const {
  check(cudaSetDevice(index_), "choosing the GPU");
  cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal;
  check(cudaThreadExchangeStreamCaptureMode(&mode), "choosing what captures of others forbid");
  return stream_;
}

int CudaDevice::chunkTiles() const { return cuda::kChunkTiles; }

int CudaDevice::maxPositions() const { return cuda::kMaxPositions; }

void CudaDevice::configure(OrtSessionOptions* options, bool cudaGraphs) const {
  constexpr const char* kCode = "CUDA_UNAVAILABLE";
  OrtCUDAProviderOptionsV2* raw = nullptr;
  ort::check(ort::api().CreateCUDAProviderOptions(&raw), kCode, "preparing ONNX Runtime’s CUDA provider");
  const std::unique_ptr<OrtCUDAProviderOptionsV2,
                        ort::Releaser<OrtCUDAProviderOptionsV2, &OrtApi::ReleaseCUDAProviderOptions>>
      provider(raw);
  const std::string index = std::to_string(index_);
  const std::pair<const char*, const char*> settings[] = {
      {"device_id", index.c_str()},
      // Its products of float32 would else be of 10 bits (TF32): rewards were off by more than 1e-3.
      {"use_tf32", "0"},
      // The default times every algorithm and takes the fastest: CLIP's embeddings would differ from process to
      // process.
      {"cudnn_conv_algo_search", "HEURISTIC"},
      {"enable_cuda_graph", cudaGraphs ? "1" : "0"},
  };
  for (const auto& [key, value] : settings) {
    ort::check(ort::api().UpdateCUDAProviderOptions(raw, &key, &value, 1), kCode, "setting up the provider");
  }
  // Nodes that stay on the CPU are few and small: a thread for each of the machine's processors would only wait.
  ort::check(ort::api().SetIntraOpNumThreads(options, 1), kCode, "setting the threads");
  ort::check(ort::api().SetInterOpNumThreads(options, 1), kCode, "setting the threads");
  ort::check(ort::api().UpdateCUDAProviderOptionsWithValue(raw, "user_compute_stream", stream()), kCode,
             "giving the provider our stream");
  ort::check(ort::api().SessionOptionsAppendExecutionProvider_CUDA_V2(options, raw), kCode,
             "loading ONNX Runtime’s CUDA provider");
}

void CudaDevice::configure(OrtRunOptions* options) const {
  ort::check(ort::api().AddRunConfigEntry(options, "disable_synchronize_execution_providers", "1"), "MODEL_RUN",
             "setting run options");
}

// Memory that another thread gives back meanwhile would be given back by every replay.
void CudaDevice::capture(const std::function<void()>& run) {
  const std::lock_guard lock(releasing_);
  run();
}

void CudaDevice::eachRow(const Forward& forward, const std::function<void(int64_t)>& run) {
  stream();
  for (int64_t row = 0; row < forward.rows; ++row) run(row);
}

// What fails here is told by the next call.
void CudaDevice::wait() const noexcept {
  const OnGpu onGpu(index_);
  cudaStreamSynchronize(stream_);
}

std::unique_ptr<Mark> CudaDevice::mark() noexcept {
  const OnGpu onGpu(index_);
  return std::make_unique<Event>(stream_);
}

void CudaDevice::enter(const char* name) noexcept { nvtxRangePushA(name); }

void CudaDevice::leave() noexcept { nvtxRangePop(); }

Limits CudaDevice::measureLimits() {
  constexpr int kTries = 8;
  constexpr int64_t kOperations = 1 << 16, kVectors = int64_t{1} << 26;  // of a thread; 1 GiB
  const Scratch sink(*this, sizeof(float)), buffer(*this, kVectors * sizeof(float4));
  const auto rate = [&](double units, auto launch) {
    double best = 0;
    for (int i = 0; i < kTries; ++i) {
      const Event start(stream());
      check(launch(), "timing");
      const Event stop(stream());
      best = std::max(best, 1e3 * units / stop.since(start));
    }
    return best;
  };
  constexpr int kThreads = cuda::kLimitBlocks * cuda::kLimitThreads;
  const double flops = rate(static_cast<double>(kThreads) * static_cast<double>(kOperations),
                            [&] { return cuda::multiplyAdds(kOperations, sink.as<float>(), stream()); });
  check(cudaMemsetAsync(buffer.as<void>(), 0, kVectors * sizeof(float4), stream()), "filling memory");
  const double bytes = rate(static_cast<double>(kVectors * sizeof(float4)), [&] {
    return cuda::readMemory(buffer.as<float4>(), kVectors, sink.as<float>(), stream());
  });
  return {1, flops, bytes};
}

void* CudaDevice::allocate(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaMallocFromPoolAsync(&memory, bytes, pool_, stream());
  if (status == cudaErrorMemoryAllocation) {
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    cudaGetLastError();  // it is told here, not by the next call
    throw Error("OUT_OF_MEMORY", "could not allocate " + mebibytes(bytes) + " on cuda:" + std::to_string(index_) +
                                     ", which has " + mebibytes(free) + " of " + mebibytes(total) +
                                     " free: use fewer particles, a smaller maxBatch or a shorter prompt");
  }
  check(status, "allocating memory");
  return memory;
}

std::optional<std::size_t> CudaDevice::freeBytes() {
  check(cudaStreamSynchronize(stream()), "waiting for the GPU");
  check(cudaMemPoolTrimTo(pool_, 0), "giving back what the memory pool keeps");
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for the free memory");
  return free;
}

void CudaDevice::release(void* memory) noexcept {
  const std::lock_guard lock(releasing_);
  const OnGpu onGpu(index_);
  cudaFreeAsync(memory, stream_);
}

void CudaDevice::upload(void* to, const void* host, std::size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyDefault, stream()), "copying to the GPU");
}

void CudaDevice::download(void* host, const void* from, std::size_t bytes) {
  if (bytes > 0) check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDefault, stream()), "copying from the GPU");
  check(cudaStreamSynchronize(stream()), "waiting for the GPU");
}

void CudaDevice::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copying on the GPU");
}

void CudaDevice::run(const ops::Op& op) {
  std::visit(
      [&](const auto& kernel) {
        const auto told = [&](cudaError_t status) {
          if (status != cudaSuccess) check(status, (std::string("running ") + kernel.kName).c_str());
        };
        if constexpr (requires { kernel.workspace; }) {
          const Scratch workspace(*this, cuda::workspaceBytes(kernel));
          auto withMemory = kernel;
          withMemory.workspace = workspace.template as<void>();
          told(cuda::launch(withMemory, stream()));
        } else {
          told(cuda::launch(kernel, stream()));
        }
      },
      op);
}

}  // namespace fkinv
