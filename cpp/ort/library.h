// The libonnxruntime that the engines of the process run on.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "onnxruntime_c_api.h"

namespace fkinv::ort {

/// Opens `path` (a libonnxruntime) at the first call, and never closes it: another user of the same file may be in this
/// process. Its name is left to other releases that others open (platform::yieldName). The environment is ORT's own,
/// reference-counted one, leaked on purpose. Throws Error "ORT_NOT_FOUND" or "ORT_VERSION"; a second file is an error
/// too, by another path the same one is none.
void open(const std::filesystem::path& path);

/// What open() opened.
const OrtApi& api();
OrtEnv* environment();
/// Its release, "1.29.0"; empty before open().
std::string version();
/// The folder in which it looks for its providers: that of the path by which this process first opened it, whoever did.
/// Empty before open().
std::filesystem::path providerFolder();

/// Loads its CUDA provider from there, which then stays. Throws Error "CUDA_UNAVAILABLE" with the loader's reason.
void loadCudaProvider();
/// Whether the CUDA provider is loaded.
bool hasCudaProvider();

/// "OUT_OF_MEMORY" where ONNX Runtime's `message` says that, whose own code for it is that of any failure; else `code`.
const char* codeOf(std::string_view message, const char* code);

/// ONNX Runtime's message, empty where `status` is null; releases it.
std::string messageOf(OrtStatus* status);

/// Throws Error with `code`, or "OUT_OF_MEMORY", and "<what>: <ORT's message>" unless `status` is null; releases it.
void check(OrtStatus* status, const char* code, const char* what);

/// Releases ORT's objects through the function of OrtApi that `Release` names.
template <class T, void (*OrtApi::*Release)(T*)>
struct Releaser {
  void operator()(T* object) const { (api().*Release)(object); }
};

}  // namespace fkinv::ort
