#include "devices.h"

#include <array>
#include <stdexcept>

#include "cpu_device.h"
#include "error.h"
#include "platform/build_facts.h"
#include "platform/platform.h"
#ifdef FKINV_CUDA
#include "../../cuda/cuda_device.h"
#endif

namespace fkinv {
namespace {

// A library of the driver's. Where there is none, there is no driver: a build with CUDA loads all the same.
class DriverLibrary {
 public:
  explicit DriverLibrary(const char* name) {
    try {
      library_ = platform::openLibrary(name);
    } catch (const std::runtime_error&) {
    }
  }
  explicit operator bool() const { return library_ != nullptr; }

  // Calls `function`, and gives its status: 0 is success.
  template <class... Arguments>
  int call(const char* function, Arguments... arguments) const {
    constexpr int kMissing = -1;
    const auto f = reinterpret_cast<int (*)(Arguments...)>(platform::findSymbol(library_, function));
    return f == nullptr ? kMissing : f(arguments...);
  }

 private:
  void* library_ = nullptr;
};

constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE

// "13.0" of 13000.
std::string versionOf(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

std::string driverRelease() {
  const DriverLibrary nvml("libnvidia-ml.so.1");
  std::array<char, 96> release = {};
  if (!nvml || nvml.call("nvmlInit_v2") != 0) return "";
  const int status = nvml.call("nvmlSystemGetDriverVersion", release.data(), static_cast<unsigned>(release.size()));
  nvml.call("nvmlShutdown");
  return status == 0 ? release.data() : "";
}

std::string describe(const DriverLibrary& cuda, int status) {
  const char* text = nullptr;
  cuda.call("cuGetErrorString", status, &text);
  return (text != nullptr ? text : "an unknown error") + (" (" + std::to_string(status)) + ")";
}

Gpu gpuAt(const DriverLibrary& cuda, int index) {
  constexpr int kMajor = 75, kMinor = 76;  // of CUdevice_attribute
  std::array<char, 256> name = {};
  int device = 0, major = 0, minor = 0;
  std::size_t bytes = 0;
  cuda.call("cuDeviceGet", &device, index);
  cuda.call("cuDeviceGetName", name.data(), static_cast<int>(name.size()), device);
  cuda.call("cuDeviceGetAttribute", &major, kMajor, device);
  cuda.call("cuDeviceGetAttribute", &minor, kMinor, device);
  cuda.call("cuDeviceTotalMem_v2", &bytes, device);
  return {name.data(), 10 * major + minor, static_cast<int64_t>(bytes)};
}

#ifdef FKINV_CUDA
constexpr const char* kCudaPrefix = "cuda:";
#endif

}  // namespace

CudaFacts cudaFacts() {
  CudaFacts facts = {cudaArchitectures(), cudaVersion(), "", "", ""};
  const DriverLibrary cuda("libcuda.so.1");
  if (!cuda) return facts;
  int version = 0, count = 0;
  cuda.call("cuDriverGetVersion", &version);
  facts.driverServes = versionOf(version);
  facts.driver = driverRelease();
  int status = cuda.call("cuInit", 0U);
  if (status == 0) status = cuda.call("cuDeviceGetCount", &count);
  if (status != 0 && status != kNoDevice) facts.fault = describe(cuda, status);
  for (int index = 0; index < count; ++index) facts.gpus.push_back(gpuAt(cuda, index));
  return facts;
}

std::shared_ptr<Device> makeDevice(const std::string& name, int threads, const kernels::InstructionSet& vectors) {
  if (name == "cpu") return std::make_shared<CpuDevice>(threads, vectors);
#ifdef FKINV_CUDA
  return std::make_shared<CudaDevice>(std::stoi(name.substr(std::string(kCudaPrefix).size())));
#else
  throw Error("CUDA_UNAVAILABLE",
              "this build has no CUDA kernels, which " + name +
                  " needs: build it with FKINV_CUDA=1 where nvcc of CUDA 13 is, or use device 'cpu'");
#endif
}

}  // namespace fkinv
