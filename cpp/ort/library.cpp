#include "library.h"

#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>

#include "error.h"
#include "platform/platform.h"

namespace fkinv::ort {
namespace {

using platform::toUtf8;

struct Library {
  std::filesystem::path path, canonical, providerFolder;
  std::string version;
  const OrtApi* api = nullptr;
  OrtEnv* environment = nullptr;
  bool hasCudaProvider = false;
};

std::mutex mutex;
Library library;

constexpr const char* kNoCuda = "CUDA_UNAVAILABLE";
constexpr const char* kRemedy = ": install the one this package is pinned to, npm install onnxruntime-node@1.29.0";

std::filesystem::path canonicalOf(const std::filesystem::path& path) {
  std::error_code fault;
  const std::filesystem::path canonical = std::filesystem::canonical(path, fault);
  return fault ? path : canonical;
}

Library load(const std::filesystem::path& path) {
  void* handle = nullptr;
  try {
    handle = platform::openLibrary(path);
  } catch (const std::runtime_error& error) {
    throw Error("ORT_NOT_FOUND", "ONNX Runtime could not be opened (" + std::string(error.what()) + ")" + kRemedy);
  }
  // The onnxruntime-node of another package may be of another release: its binding must get its own library.
  platform::yieldName(handle);
  const auto getApiBase = reinterpret_cast<decltype(&OrtGetApiBase)>(platform::findSymbol(handle, "OrtGetApiBase"));
  if (getApiBase == nullptr) {
    throw Error("ORT_NOT_FOUND", toUtf8(path) + " is not ONNX Runtime: it has no OrtGetApiBase" + kRemedy);
  }
  Library found = {path, canonicalOf(path), platform::fileOf(reinterpret_cast<const void*>(getApiBase)).parent_path(),
                   getApiBase()->GetVersionString()};
  // Asking an older library for a newer API prints to stderr: compare first. API n came with release 1.n.
  int major = 0, minor = 0;
  char dot = 0;
  std::istringstream(found.version) >> major >> dot >> minor;
  if (major != 1 || minor < ORT_API_VERSION || (found.api = getApiBase()->GetApi(ORT_API_VERSION)) == nullptr) {
    throw Error("ORT_VERSION", "ONNX Runtime " + found.version + " was found at " + toUtf8(path) + ", 1." +
                                   std::to_string(ORT_API_VERSION) + " or a later 1.x is needed" + kRemedy);
  }
  return found;
}

}  // namespace

void open(const std::filesystem::path& path) {
  std::lock_guard lock(mutex);
  if (library.api != nullptr) {
    if (library.canonical == canonicalOf(path)) return;
    throw Error("ORT_VERSION", "ONNX Runtime " + library.version + " is already open from " + toUtf8(library.path) +
                                   ", and all engines of a process run on one: " + toUtf8(path) + " was asked for");
  }
  // ONNX Runtime 1.29's telemetry: a database in the home folder, a log in /tmp for each process, and a thread that
  // reads freed memory as the process exits. A user's own setting stands.
  platform::setDefaultVariable("ORT_DISABLE_TELEMETRY", "1");
  Library found = load(path);
  OrtStatus* status = found.api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "fkinv", &found.environment);
  if (status != nullptr) {
    const std::string message = found.api->GetErrorMessage(status);
    found.api->ReleaseStatus(status);
    throw Error("ORT_VERSION", "ONNX Runtime at " + toUtf8(path) + " could not start: " + message);
  }
  library = found;
}

const OrtApi& api() { return *library.api; }
OrtEnv* environment() { return library.environment; }

std::string version() {
  std::lock_guard lock(mutex);
  return library.version;
}

std::filesystem::path providerFolder() {
  std::lock_guard lock(mutex);
  return library.providerFolder;
}

bool hasCudaProvider() {
  std::lock_guard lock(mutex);
  return library.hasCudaProvider;
}

// ONNX Runtime loads the provider as a session is first given it, and keeps the loader's reason to its log: where it
// fails, the loader is asked again.
void loadCudaProvider() {
  std::lock_guard lock(mutex);
  if (library.hasCudaProvider) return;
  OrtSessionOptions* options = nullptr;
  check(api().CreateSessionOptions(&options), kNoCuda, "creating session options");
  const std::unique_ptr<OrtSessionOptions, Releaser<OrtSessionOptions, &OrtApi::ReleaseSessionOptions>> ofOptions(
      options);
  OrtCUDAProviderOptionsV2* provider = nullptr;
  check(api().CreateCUDAProviderOptions(&provider), kNoCuda, "preparing the CUDA provider");
  const std::unique_ptr<OrtCUDAProviderOptionsV2,
                        Releaser<OrtCUDAProviderOptionsV2, &OrtApi::ReleaseCUDAProviderOptions>>
      ofProvider(provider);
  OrtStatus* status = api().SessionOptionsAppendExecutionProvider_CUDA_V2(options, provider);
  if (status == nullptr) {
    library.hasCudaProvider = true;
    return;
  }
  std::string reason = messageOf(status);
  try {
    for (const char* name : {"libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"}) {
      platform::openLibrary(library.providerFolder / name);
    }
  } catch (const std::runtime_error& error) {
    reason = error.what();
  }
  throw Error(kNoCuda, reason);
}

// The words of its allocators, of the C++ library and of CUDA.
const char* codeOf(std::string_view message, const char* code) {
  for (const std::string_view words : {"Failed to allocate memory", "bad_alloc", "bad allocation", "out of memory"}) {
    if (message.find(words) != std::string_view::npos) return "OUT_OF_MEMORY";
  }
  return code;
}

std::string messageOf(OrtStatus* status) {
  if (status == nullptr) return "";
  std::string message = api().GetErrorMessage(status);
  api().ReleaseStatus(status);
  return message;
}

void check(OrtStatus* status, const char* code, const char* what) {
  if (status == nullptr) return;
  const std::string message = messageOf(status);
  throw Error(codeOf(message, code), std::string(what) + ": " + message);
}

}  // namespace fkinv::ort
