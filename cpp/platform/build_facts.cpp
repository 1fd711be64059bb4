#include "build_facts.h"

#define FKINV_STRING_OF(x) #x
#define FKINV_STRING(x) FKINV_STRING_OF(x)

namespace fkinv {

const char* compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " FKINV_STRING(__GNUC__) "." FKINV_STRING(__GNUC_MINOR__) "." FKINV_STRING(__GNUC_PATCHLEVEL__);
#elif defined(_MSC_VER)
  return "MSVC " FKINV_STRING(_MSC_FULL_VER);
#else
  return "an unknown compiler";
#endif
}

const char* baseline() {
#if defined(__AVX512F__)
  return "AVX-512";
#elif defined(__AVX2__)
  return "AVX2";
#elif defined(__SSE2__) || defined(_M_X64)
  return "SSE2";
#elif defined(__ARM_NEON) || defined(_M_ARM64)
  return "NEON";
#else
  return "scalar";
#endif
}

// Both as CMakeLists.txt defines them.
const char* cudaArchitectures() {
#if defined(FKINV_CUDA)
  return FKINV_CUDA_ARCHITECTURES;
#else
  return "";
#endif
}

const char* cudaVersion() {
#if defined(FKINV_CUDA)
  return FKINV_CUDA_VERSION;
#else
  return "";
#endif
}

}  // namespace fkinv
