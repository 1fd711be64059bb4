// Runs the .cu files on the CPU: compiled by g++ as C++ with FKINV_EMULATED, they include this in place of nvcc's own
// declarations, with the real headers of the CUDA toolkit for half, bfloat16 and vector types. Threads are fibers, and
// the blocks of a grid run one after the other.
//
// What order blocks, warps and threads take between two points of synchronisation is drawn from a seed: a missing
// barrier is a result that depends on the seed. Device memory and shared memory begin as a pattern: what is read before
// it is written is a result that depends on the pattern. Barriers that only a part of a block comes to, and shuffles
// with lanes missing, are errors. With -fsanitize=address,undefined an access outside an array and an unaligned one end
// the program.
//
// It proves the layout of fragments, bounds and order, not the rounding of special functions; of tensor cores it has
// that sums are cut off.
//
// Kernels are in namespace fkinv::cuda, and the program is compiled with -fdata-sections and linked with shared.ld,
// which finds their __shared__ variables. Dynamic shared memory is FKINV_DYNAMIC_SHARED(type, name).
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <math.h>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <type_traits>

#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __shared__
#define __shared__ static
#define FKINV_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(fkinv::emulator::dynamicShared())
/// kernel<<<grid, block, sharedBytes, stream>>>(arguments…); a template's name with a comma in parentheses.
#define FKINV_LAUNCH(kernel, grid, block, sharedBytes, stream, ...) \
  fkinv::emulator::launch(#kernel, kernel, grid, block, sharedBytes, stream __VA_OPT__(, ) __VA_ARGS__)
#define threadIdx (fkinv::emulator::place().thread)
#define blockIdx (fkinv::emulator::place().block)
#define blockDim (fkinv::emulator::place().blockSize)
#define gridDim (fkinv::emulator::place().gridSize)

namespace fkinv::emulator {

/// How the next launches run: the seed of their order, and the byte that memory begins as.
struct Settings {
  uint64_t seed = 0;
  uint8_t poison = 0xff;
};
void configure(const Settings& settings);

/// What a kernel does wrong in its use of barriers, shuffles and asynchronous copies: thrown by the launch.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Device memory, poisoned.
void* allocate(std::size_t bytes);
void release(void* memory);

/// Bytes that were copied between host and device, either way.
extern std::size_t hostBytes;

/// Where the running thread is.
struct Place {
  uint3 thread, block;
  dim3 blockSize, gridSize;
};
extern Place* running;
inline const Place& place() { return *running; }

void* dynamicShared();

cudaError_t run(const char* kernel, dim3 grid, dim3 block, std::size_t sharedBytes, const std::function<void()>& body);

template <class... Parameters, class... Arguments>
cudaError_t launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t sharedBytes,
                   cudaStream_t, Arguments... arguments) {
  return run(name, grid, block, sharedBytes, [=] { kernel(arguments...); });
}

using Where = std::source_location;

/// Which lane a shuffle reads.
enum class Shuffle { index, exclusiveOr, up, down };
uint64_t shuffle(unsigned mask, uint64_t bits, Shuffle kind, int operand, int width, const Where& where);
unsigned ballot(unsigned mask, bool predicate, const Where& where);
void syncWarp(unsigned mask, const Where& where);
/// Waits for the whole block; whether a thread's predicate held.
bool syncBlock(bool predicate, const Where& where);
/// Other threads may run here.
void mayYield();

/// D = A·B + C of a warp, m16n8kK, float16 operands and float32 sums, in the fragments of PTX's mma.
template <int K>
void mma(float (&c)[4], const uint32_t (&a)[K / 4], const uint32_t (&b)[K / 8], const Where& where = Where::current());

/// cp.async: the bytes arrive at the wait, and no sooner.
void copyAsync(void* shared, const void* global, int bytes);
void commitAsync();
/// Waits until at most `pending` of the committed groups have not arrived.
void waitAsync(int pending);

template <class T>
T shuffled(unsigned mask, T value, Shuffle kind, int operand, int width, const Where& where) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(mask, bits, kind, operand, width, where);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <std::integral T, class F>
T atomic(T* at, F next) {
  mayYield();
  const T before = *at;
  *at = static_cast<T>(next(before));
  return before;
}

}  // namespace fkinv::emulator

// The names that nvcc has built in.

using std::max;
using std::min;

inline void __syncthreads(const std::source_location& where = std::source_location::current()) {
  fkinv::emulator::syncBlock(false, where);
}
inline int __syncthreads_or(int predicate, const std::source_location& where = std::source_location::current()) {
  return fkinv::emulator::syncBlock(predicate != 0, where);
}
inline void __syncwarp(unsigned mask = 0xffffffff,
                       const std::source_location& where = std::source_location::current()) {
  fkinv::emulator::syncWarp(mask, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              const std::source_location& where = std::source_location::current()) {
  return fkinv::emulator::ballot(mask, predicate != 0, where);
}
inline int __any_sync(unsigned mask, int predicate,
                      const std::source_location& where = std::source_location::current()) {
  return fkinv::emulator::ballot(mask, predicate != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      const std::source_location& where = std::source_location::current()) {
  return fkinv::emulator::ballot(mask, predicate != 0, where) == mask;
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              const std::source_location& where = std::source_location::current()) {
  return fkinv::emulator::shuffled(mask, value, fkinv::emulator::Shuffle::index, lane, width, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  const std::source_location& where = std::source_location::current()) {
  return fkinv::emulator::shuffled(mask, value, fkinv::emulator::Shuffle::exclusiveOr, lanes, width, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32,
                 const std::source_location& where = std::source_location::current()) {
  return fkinv::emulator::shuffled(mask, value, fkinv::emulator::Shuffle::up, static_cast<int>(by), width, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,
                   const std::source_location& where = std::source_location::current()) {
  return fkinv::emulator::shuffled(mask, value, fkinv::emulator::Shuffle::down, static_cast<int>(by), width, where);
}

template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
T __ldcs(const T* at) {
  return *at;
}

template <std::integral T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
  return fkinv::emulator::atomic(at, [=](T before) { return before + value; });
}
template <std::integral T>
T atomicMax(T* at, std::type_identity_t<T> value) {
  return fkinv::emulator::atomic(at, [=](T before) { return std::max(before, value); });
}
template <std::integral T>
T atomicMin(T* at, std::type_identity_t<T> value) {
  return fkinv::emulator::atomic(at, [=](T before) { return std::min(before, value); });
}
template <std::integral T>
T atomicOr(T* at, std::type_identity_t<T> value) {
  return fkinv::emulator::atomic(at, [=](T before) { return before | value; });
}
template <std::integral T>
T atomicAnd(T* at, std::type_identity_t<T> value) {
  return fkinv::emulator::atomic(at, [=](T before) { return before & value; });
}
template <std::integral T>
T atomicExch(T* at, std::type_identity_t<T> value) {
  return fkinv::emulator::atomic(at, [=](T) { return value; });
}
template <std::integral T>
T atomicCAS(T* at, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  return fkinv::emulator::atomic(at, [=](T before) { return before == compare ? value : before; });
}
