#include "instruction_set.h"

#include <vector>

#if defined(FKINV_X86) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace fkinv::kernels {

extern const InstructionSet baseline;
#if defined(FKINV_X86)
extern const InstructionSet avx2, avx512;
#endif

namespace {

#if defined(FKINV_X86)
struct Processor {
  bool hasAvx2, hasAvx512;
};

#if defined(_MSC_VER) && !defined(__clang__)
// Bits of CPUID (Intel's manual, volume 2) and of XCR0: whether the system saves the registers. What /arch:AVX512 may
// use is more than AVX-512F.
Processor processor() {
  int one[4], seven[4];
  __cpuid(one, 1);
  __cpuidex(seven, 7, 0);
  const auto has = [](int word, int bit) { return ((word >> bit) & 1) != 0; };
  const unsigned long long saved = has(one[2], 27) ? _xgetbv(0) : 0;
  const bool hasAvx2 = (saved & 0x6) == 0x6 && has(seven[1], 5) && has(one[2], 12) && has(one[2], 29);
  bool hasAvx512 = hasAvx2 && (saved & 0xe6) == 0xe6;
  for (const int bit : {16, 17, 28, 30, 31}) hasAvx512 = hasAvx512 && has(seven[1], bit);  // F, DQ, CD, BW and VL
  return {hasAvx2, hasAvx512};
}
#else
Processor processor() {
  __builtin_cpu_init();
  // What has AVX2 and FMA has F16C, which Clang 14 cannot ask for.
  const bool hasAvx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return {hasAvx2, hasAvx2 && __builtin_cpu_supports("avx512f")};
}
#endif
#endif

std::vector<const InstructionSet*> detect() {
  std::vector<const InstructionSet*> sets = {&baseline};
#if defined(FKINV_X86)
  const Processor has = processor();
  if (has.hasAvx2) sets.push_back(&avx2);
  if (has.hasAvx512) sets.push_back(&avx512);
#endif
  return sets;
}

}  // namespace

std::span<const InstructionSet* const> instructionSets() {
  static const std::vector<const InstructionSet*> sets = detect();
  return sets;
}

const InstructionSet& bestInstructionSet() { return *instructionSets().back(); }

const InstructionSet* findInstructionSet(std::string_view name) {
  for (const InstructionSet* set : instructionSets()) {
    if (set->name == name) return set;
  }
  return nullptr;
}

}  // namespace fkinv::kernels
