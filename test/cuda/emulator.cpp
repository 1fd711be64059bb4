#include "emulator.h"

#include <sys/mman.h>

#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// What the linker makes of __shared__; absent where no kernel has such variables.
extern "C" {
extern char __start_fkinv_shared[] __attribute__((weak));
extern char __stop_fkinv_shared[] __attribute__((weak));
}

// AddressSanitizer, where the program has it. This file is compiled without, since it is most of what runs.
extern "C" {
__attribute__((weak)) void __asan_poison_memory_region(const volatile void* memory, std::size_t bytes);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* memory, std::size_t bytes);
__attribute__((weak)) int __asan_address_is_poisoned(const volatile void* at);
__attribute__((weak)) void __asan_set_error_report_callback(void (*callback)(const char*));
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fakeStack, const void* stack, std::size_t bytes);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fakeStack, const void** stack, std::size_t* bytes);
}

namespace fkinv::emulator {

Place* running = nullptr;
std::size_t hostBytes = 0;

namespace {

constexpr int kLanes = 32;
constexpr int kMaxThreads = 1024;
constexpr std::size_t kMaxShared = 227 * 1024;  // what a block of sm_90 may ask for, the most of all
constexpr std::size_t kRedZone = 64 * 1024;
constexpr std::size_t kStack = 256 * 1024;
constexpr std::align_val_t kAlignment{256};  // what cudaMalloc gives

const bool isSanitized = __asan_poison_memory_region != nullptr;

// A stack, and where its execution stands.
struct Context {
  char* stack = nullptr;
  std::size_t stackBytes = 0;
  void* fakeStack = nullptr;  // AddressSanitizer's
#if defined(__x86_64__)
  void* stackPointer = nullptr;
#else
  ucontext_t registers;
#endif
};

#if defined(__x86_64__)
// ucontext's switch asks the kernel for the signal mask, which takes far longer than what a thread does between two
// shuffles: these are the registers that a call preserves, and the stack.
extern "C" void fkinv_emulator_switch(void** from, void* to);
asm(R"(
  .text
fkinv_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
void jump(Context& from, Context& to) { fkinv_emulator_switch(&from.stackPointer, to.stackPointer); }
void prepare(Context& context, void (*entry)()) {
  auto* top = reinterpret_cast<void**>(context.stack + context.stackBytes) - 1;
  *top = nullptr;  // the entry never returns
  *--top = reinterpret_cast<void*>(entry);
  context.stackPointer = top - 6;
}
#else
void jump(Context& from, Context& to) { swapcontext(&from.registers, &to.registers); }
void prepare(Context& context, void (*entry)()) {
  getcontext(&context.registers);
  context.registers.uc_stack.ss_sp = context.stack;
  context.registers.uc_stack.ss_size = context.stackBytes;
  context.registers.uc_link = nullptr;
  makecontext(&context.registers, entry, 0);
}
#endif

// `isLast`: nothing comes back to `from`.
void switchTo(Context& from, Context& to, bool isLast) {
  if (isSanitized) __sanitizer_start_switch_fiber(isLast ? nullptr : &from.fakeStack, to.stack, to.stackBytes);
  jump(from, to);
  if (isSanitized) __sanitizer_finish_switch_fiber(from.fakeStack, nullptr, nullptr);
}

enum class Kind { shuffle, ballot, syncWarp, mma };
const char* nameOf(Kind kind) {
  return kind == Kind::shuffle  ? "a shuffle"
         : kind == Kind::ballot ? "a vote"
         : kind == Kind::mma    ? "mma"
                                : "__syncwarp";
}

// What the lanes of `mask` do together. Each lane leaves its operands in its own value and finds its result there.
struct Collective {
  using Value = std::array<std::byte, 48>;
  Kind kind;
  unsigned mask, arrived = 0;
  std::array<Value, kLanes> values;
};

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
};

struct Fiber {
  Context context;
  Place place;
  int warp, lane;
  bool isDone;
  const Collective* waitsFor;  // null: __syncthreads
  Where where;
  std::vector<Copy> copies;
  std::vector<std::vector<Copy>> groups;
};

struct Warp {
  unsigned ready;
  std::array<Collective, kLanes> collectives;  // by the lowest lane of their masks
};

// The one block that runs.
struct Block {
  std::mt19937_64 random;
  const char* kernel = "";
  const std::function<void()>* body = nullptr;
  std::string failure;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  int threads = 0, left = 0;
  unsigned readyWarps = 0, stays = 0;
  int atBarrier = 0;                 // threads that came
  bool holds = false, held = false;  // whether a predicate does at this barrier, and did at the last
  Context scheduler;
  Fiber* current = nullptr;
};

Settings settings;
Block block;
cudaError_t lastError = cudaSuccess;

std::string text(const char* format, auto... values) {
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, format, values...);
  return buffer;
}
std::string text(const Where& where) { return text("%s:%u", where.file_name(), where.line()); }
std::string text(const uint3& at) { return text("(%u, %u, %u)", at.x, at.y, at.z); }
std::string whereabouts(const Fiber& fiber) {
  return "kernel " + std::string(block.kernel) + ", block " + text(fiber.place.block) + ", thread " +
         text(fiber.place.thread);
}

// A random one of the bits that are set.
int anyOf(unsigned bits) {
  const int turn = static_cast<int>(block.random() % kLanes);
  return (std::countr_zero(std::rotr(bits, turn)) + turn) % kLanes;
}

// The thread that runs next; null where none can.
Fiber* next() {
  if (block.readyWarps == 0) return nullptr;
  int warp = block.current == nullptr ? -1 : block.current->warp;
  const bool canStay = warp >= 0 && (block.readyWarps >> warp & 1) != 0;
  if (!canStay || block.random() % 8 >= block.stays) warp = anyOf(block.readyWarps);
  return &block.fibers[static_cast<std::size_t>(warp * kLanes +
                                                anyOf(block.warps[static_cast<std::size_t>(warp)].ready))];
}

void resume(Fiber* to, bool isLast = false) {
  Context& from = block.current == nullptr ? block.scheduler : block.current->context;
  block.current = to;
  running = to == nullptr ? nullptr : &to->place;
  switchTo(from, to == nullptr ? block.scheduler : to->context, isLast);
}

// Ends the launch: threadMain() catches it.
[[noreturn]] void fail(const Fiber& fiber, const std::string& what) { throw Error(whereabouts(fiber) + ": " + what); }

// Nobody can go on.
[[noreturn]] void failStuck() {
  const auto isStuck = [](const Fiber& fiber) { return !fiber.isDone; };
  const auto end = block.fibers.begin() + block.threads;
  // A thread at a shuffle says more than those at the barrier that wait for it.
  auto stuck =
      std::find_if(block.fibers.begin(), end, [&](const Fiber& f) { return isStuck(f) && f.waitsFor != nullptr; });
  if (stuck != end) {
    const Collective& at = *stuck->waitsFor;
    fail(*stuck, "waits at " + text(stuck->where) +
                     text(" for %s of the lanes %08x, of which %08x came", nameOf(at.kind), at.mask, at.arrived));
  }
  stuck = std::find_if(block.fibers.begin(), end, isStuck);
  fail(*stuck, "waits at " + text(stuck->where) +
                   text(" for __syncthreads, to which %d of %d threads came", block.atBarrier, block.threads));
}

void setReady(const Fiber& fiber, bool isReady) {
  unsigned& lanes = block.warps[static_cast<std::size_t>(fiber.warp)].ready;
  lanes = (lanes & ~(1u << fiber.lane)) | static_cast<unsigned>(isReady) << fiber.lane;
  block.readyWarps = (block.readyWarps & ~(1u << fiber.warp)) | static_cast<unsigned>(lanes != 0) << fiber.warp;
}

void yield() {
  Fiber* to = next();
  if (to == nullptr) failStuck();
  if (to != block.current) resume(to);
}

void threadMain() {
  if (isSanitized) {
    const void* bottom;
    std::size_t bytes;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    if (block.scheduler.stack == nullptr) {  // what began the first fiber of all
      block.scheduler.stack = static_cast<char*>(const_cast<void*>(bottom));
      block.scheduler.stackBytes = bytes;
    }
  }
  Fiber& self = *block.current;
  Fiber* following = nullptr;
  try {
    (*block.body)();
    self.isDone = true;
    setReady(self, false);
    if (--block.left > 0 && (following = next()) == nullptr) failStuck();
  } catch (const Error& error) {
    block.failure = error.what();
  }
  resume(following, true);
}

// Waits for the other lanes of `mask`; the last to come calls complete(collective). Returns this lane's value.
template <class Complete>
Collective::Value& together(Kind kind, unsigned mask, const Where& where, const void* operands, std::size_t bytes,
                            Complete complete) {
  Fiber& self = *block.current;
  Warp& warp = block.warps[static_cast<std::size_t>(self.warp)];
  if ((mask >> self.lane & 1) == 0) {
    fail(self, text("calls %s for the lanes %08x, of which it is none, at ", nameOf(kind), mask) + text(where));
  }
  Collective& all = warp.collectives[static_cast<std::size_t>(std::countr_zero(mask))];
  if (all.arrived == 0) {
    all.kind = kind;
    all.mask = mask;
  } else if (all.kind != kind || all.mask != mask) {
    fail(self, text("calls %s for the lanes %08x, while others wait in %s for %08x, at ", nameOf(kind), mask,
                    nameOf(all.kind), all.mask) +
                   text(where));
  }
  Collective::Value& own = all.values[static_cast<std::size_t>(self.lane)];
  if (bytes > 0) std::memcpy(own.data(), operands, bytes);
  all.arrived |= 1u << self.lane;
  self.waitsFor = &all;
  self.where = where;
  if (all.arrived == mask) {
    complete(all);
    all.arrived = 0;
    warp.ready |= mask;
    block.readyWarps |= 1u << self.warp;
  } else {
    setReady(self, false);
  }
  yield();
  return own;
}

template <class T>
T as(const Collective::Value& value) {
  T result;
  std::memcpy(&result, value.data(), sizeof result);
  return result;
}

struct ShuffleOperands {
  uint64_t bits;
  int from;  // the lane it reads
};

// The halves of a fragment's register as floats, low one first.
float halfOf(uint32_t fragment, int which) {
  static const std::vector<float> floats = [] {
    std::vector<float> all(1 << 16);
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i] = __half2float(std::bit_cast<__half>(static_cast<uint16_t>(i)));
    }
    return all;
  }();
  return floats[(which == 0 ? fragment : fragment >> 16) & 0xffff];
}

template <int K>
struct MmaOperands {
  float c[4];
  uint32_t a[K / 4], b[K / 8];
};

// Tensor cores do not round sums, they cut them off: towards 0, so that the errors of many do not cancel out.
float cutOff(double sum) {
  const auto rounded = static_cast<float>(sum);
  return std::fabs(static_cast<double>(rounded)) > std::fabs(sum) ? std::nextafter(rounded, 0.0f) : rounded;
}

// Rows of A and of D: lane/4 and lane/4 + 8; columns of B and of D: lane/4 and 2·(lane mod 4) + {0, 1}; a register of A
// and of B holds k = 2·(lane mod 4) + {0, 1}, plus 8 in the second half of K (PTX ISA, mma.m16n8k8 and m16n8k16).
template <int K>
void multiply(Collective& all) {
  float a[16][K], b[K][8];
  MmaOperands<K> of[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    of[lane] = as<MmaOperands<K>>(all.values[static_cast<std::size_t>(lane)]);
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int h = 0; h < K / 8; ++h) {
      for (int which = 0; which < 2; ++which) {
        const int k = 8 * h + pair + which;
        a[group][k] = halfOf(of[lane].a[2 * h], which);
        a[group + 8][k] = halfOf(of[lane].a[2 * h + 1], which);
        b[k][group] = halfOf(of[lane].b[h], which);
      }
    }
  }
  double d[16][8] = {};
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < K; ++k) {
      for (int column = 0; column < 8; ++column) {
        d[row][column] += static_cast<double>(a[row][k]) * static_cast<double>(b[k][column]);
      }
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const double sum = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
      of[lane].c[i] = cutOff(static_cast<double>(of[lane].c[i]) + sum);
    }
    std::memcpy(all.values[static_cast<std::size_t>(lane)].data(), &of[lane], sizeof of[lane]);
  }
}

// Stacks are made once and used by all blocks.
void prepareFibers(dim3 grid, dim3 size) {
  if (block.fibers.empty()) {
    block.fibers.resize(kMaxThreads);
    block.warps.resize(kMaxThreads / kLanes);
    for (Fiber& fiber : block.fibers) {
      void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (stack == MAP_FAILED) throw Error("no memory for the stack of a thread");
      mprotect(stack, 4096, PROT_NONE);
      fiber.context.stack = static_cast<char*>(stack);
      // Stacks that ended at equal places of their pages would share a few sets of the processor's caches.
      fiber.context.stackBytes = kStack - (&fiber - block.fibers.data()) * 320 % 32768;
    }
  }
  block.threads = static_cast<int>(size.x * size.y * size.z);
  block.left = block.threads;
  block.readyWarps = 0;
  block.atBarrier = 0;
  block.holds = false;
  for (Warp& warp : block.warps) {
    warp.ready = 0;
    for (Collective& collective : warp.collectives) collective.arrived = 0;
  }
  for (int i = 0; i < block.threads; ++i) {
    Fiber& fiber = block.fibers[static_cast<std::size_t>(i)];
    const auto linear = static_cast<unsigned>(i);
    fiber.place = {{linear % size.x, linear / size.x % size.y, linear / (size.x * size.y)}, {}, size, grid};
    fiber.warp = i / kLanes;
    fiber.lane = i % kLanes;
    fiber.isDone = false;
    fiber.waitsFor = nullptr;
    fiber.copies.clear();
    fiber.groups.clear();
    prepare(fiber.context, threadMain);
    setReady(fiber, true);
  }
}

char* sharedBase() {
  alignas(256) static char memory[kRedZone + kMaxShared + kRedZone];
  return memory;
}

// Everything shared as it is when a block begins.
void poisonShared(std::size_t dynamicBytes) {
  static const std::vector<std::pair<char*, std::size_t>> pieces = [] {  // without the red zones between the variables
    std::vector<std::pair<char*, std::size_t>> found;
    for (char* at = __start_fkinv_shared; at != __stop_fkinv_shared; ++at) {
      if (isSanitized && __asan_address_is_poisoned(at) != 0) continue;
      if (found.empty() || found.back().first + found.back().second != at) found.emplace_back(at, 0);
      ++found.back().second;
    }
    return found;
  }();
  for (const auto& [at, bytes] : pieces) std::memset(at, settings.poison, bytes);
  char* const base = sharedBase();
  if (isSanitized) {
    __asan_poison_memory_region(base, kRedZone + kMaxShared + kRedZone);
    __asan_unpoison_memory_region(base + kRedZone, dynamicBytes);
  }
  std::memset(base + kRedZone, settings.poison, dynamicBytes);
}

void runBlock(uint3 at, std::size_t sharedBytes, dim3 grid, dim3 size) {
  poisonShared(sharedBytes);
  prepareFibers(grid, size);
  for (int i = 0; i < block.threads; ++i) block.fibers[static_cast<std::size_t>(i)].place.block = at;
  constexpr std::array kStays = {0u, 7u, 8u};  // eighths: warps take turns, or one goes as far as it can
  block.stays = kStays[block.random() % kStays.size()];
  block.current = nullptr;
  resume(next());
  if (block.failure.empty()) return;
  if (isSanitized) {
    for (Fiber& fiber : block.fibers) __asan_unpoison_memory_region(fiber.context.stack, fiber.context.stackBytes);
  }
  throw Error(std::exchange(block.failure, {}));
}

}  // namespace

// Under the reports of the sanitizers.
static void reportWhereabouts(const char*) {
  if (block.current != nullptr) std::fprintf(stderr, "in %s\n", whereabouts(*block.current).c_str());
}
extern "C" __attribute__((visibility("default"))) void __ubsan_on_report() { reportWhereabouts(""); }

void configure(const Settings& given) { settings = given; }

void* allocate(std::size_t bytes) {
  void* memory = ::operator new(bytes, kAlignment);
  std::memset(memory, settings.poison, bytes);
  return memory;
}
void release(void* memory) { ::operator delete(memory, kAlignment); }

void* dynamicShared() { return sharedBase() + kRedZone; }

cudaError_t run(const char* kernel, dim3 grid, dim3 size, std::size_t sharedBytes, const std::function<void()>& body) {
  const uint64_t blocks = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
  const uint64_t threads = static_cast<uint64_t>(size.x) * size.y * size.z;
  if (blocks == 0 || grid.x > 0x7fffffff || grid.y > 0xffff || grid.z > 0xffff || threads == 0 ||
      threads > kMaxThreads || size.z > 64) {
    return lastError = cudaErrorInvalidConfiguration;
  }
  if (sharedBytes > kMaxShared) return lastError = cudaErrorInvalidValue;
  if (isSanitized) __asan_set_error_report_callback(reportWhereabouts);
  block.kernel = kernel;
  block.body = &body;
  block.random.seed(settings.seed);
  std::vector<uint64_t> order(blocks);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), block.random);
  for (const uint64_t at : order) {
    const uint64_t rest = at / grid.x;
    runBlock({static_cast<unsigned>(at % grid.x), static_cast<unsigned>(rest % grid.y),
              static_cast<unsigned>(rest / grid.y)},
             sharedBytes, grid, size);
  }
  return cudaSuccess;
}

uint64_t shuffle(unsigned mask, uint64_t bits, Shuffle kind, int operand, int width, const Where& where) {
  Fiber& self = *block.current;
  const int first = self.lane / width * width;  // of the lanes it exchanges with
  int from = kind == Shuffle::index         ? first + (operand & (width - 1))
             : kind == Shuffle::exclusiveOr ? self.lane ^ operand
             : kind == Shuffle::up          ? self.lane - operand
                                            : self.lane + operand;
  if (kind == Shuffle::exclusiveOr ? from >= first + width : from < first || from >= first + width) from = self.lane;
  if ((mask >> from & 1) == 0) fail(self, text("shuffles from lane %d, which takes no part, at ", from) + text(where));
  const ShuffleOperands operands = {bits, from};
  return as<uint64_t>(together(Kind::shuffle, mask, where, &operands, sizeof operands, [](Collective& all) {
    const auto values = all.values;
    for (unsigned rest = all.mask; rest != 0; rest &= rest - 1) {
      const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
      const auto source = static_cast<std::size_t>(as<ShuffleOperands>(values[lane]).from);
      std::memcpy(all.values[lane].data(), values[source].data(), sizeof(uint64_t));
    }
  }));
}

unsigned ballot(unsigned mask, bool predicate, const Where& where) {
  const auto own = static_cast<unsigned>(predicate);
  return as<unsigned>(together(Kind::ballot, mask, where, &own, sizeof own, [](Collective& all) {
    unsigned votes = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      if ((all.mask >> lane & 1) != 0) votes |= as<unsigned>(all.values[static_cast<std::size_t>(lane)]) << lane;
    }
    for (Collective::Value& value : all.values) std::memcpy(value.data(), &votes, sizeof votes);
  }));
}

void syncWarp(unsigned mask, const Where& where) {
  together(Kind::syncWarp, mask, where, nullptr, 0, [](Collective&) {});
}

bool syncBlock(bool predicate, const Where& where) {
  Fiber& self = *block.current;
  self.waitsFor = nullptr;
  self.where = where;
  block.holds = block.holds || predicate;
  if (++block.atBarrier == block.threads) {
    block.held = std::exchange(block.holds, false);
    block.atBarrier = 0;
    for (int i = 0; i < block.threads; ++i) {
      const Fiber& other = block.fibers[static_cast<std::size_t>(i)];
      if (other.where.line() != where.line() || other.where.file_name() != where.file_name()) {
        fail(self, "is at __syncthreads at " + text(where) + ", thread " + text(other.place.thread) + " at " +
                       text(other.where));
      }
      setReady(other, true);
    }
  } else {
    setReady(self, false);
  }
  yield();
  return block.held;
}

void mayYield() { yield(); }

template <int K>
void mma(float (&c)[4], const uint32_t (&a)[K / 4], const uint32_t (&b)[K / 8], const Where& where) {
  MmaOperands<K> operands;
  static_assert(sizeof operands <= sizeof(Collective::Value));
  std::copy_n(c, 4, operands.c);
  std::copy_n(a, K / 4, operands.a);
  std::copy_n(b, K / 8, operands.b);
  operands = as<MmaOperands<K>>(together(Kind::mma, 0xffffffff, where, &operands, sizeof operands, multiply<K>));
  std::copy_n(operands.c, 4, c);
}
template void mma<8>(float (&)[4], const uint32_t (&)[2], const uint32_t (&)[1], const Where&);
template void mma<16>(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2], const Where&);

void copyAsync(void* shared, const void* global, int bytes) {
  const auto isAligned = [&](const void* at) {
    return reinterpret_cast<uintptr_t>(at) % static_cast<unsigned>(bytes) == 0;
  };
  if (bytes != 4 && bytes != 8 && bytes != 16) fail(*block.current, text("cp.async of %d bytes", bytes));
  if (!isAligned(shared) || !isAligned(global)) fail(*block.current, text("cp.async of %d bytes, not aligned", bytes));
  block.current->copies.push_back({shared, global, static_cast<std::size_t>(bytes)});
}
void commitAsync() { block.current->groups.push_back(std::exchange(block.current->copies, {})); }
void waitAsync(int pending) {
  auto& groups = block.current->groups;
  while (groups.size() > static_cast<std::size_t>(pending)) {
    for (const Copy& copy : groups.front()) std::memcpy(copy.to, copy.from, copy.bytes);
    groups.erase(groups.begin());
  }
}

}  // namespace fkinv::emulator

// What launchers call of the runtime.
extern "C" {
cudaError_t cudaGetLastError() { return std::exchange(fkinv::emulator::lastError, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return fkinv::emulator::lastError; }
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  if (kind != cudaMemcpyDeviceToDevice) fkinv::emulator::hostBytes += bytes;
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
}
