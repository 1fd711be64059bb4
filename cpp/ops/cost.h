// What a kernel reads and computes, from its shapes alone: what the recorder says of it, and docs/kernels.md.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>

#include "../kernels/logits.h"

namespace fkinv {

/// What a span's work comes to, from its shapes: bytes that it reads, each counted once, and float operations, a
/// multiplication and an addition one each. kUnknown where only ONNX Runtime knows.
struct Cost {
  static constexpr int64_t kUnknown = -1;
  int64_t bytes, flops;
};

namespace ops {

/// Operations of one exponential with what forms its argument and adds it up: a polynomial of degree 5 takes about as
/// many in every instruction set.
inline constexpr int64_t kExponential = 20;

// Bytes of a value, as the signed numbers that costs are counted in.
inline constexpr int64_t kFloat = sizeof(float), kDouble = sizeof(double), kId = sizeof(int32_t),
                         kSeed = sizeof(uint64_t), kMark = sizeof(uint8_t);

/// Bytes of one logit.
inline int64_t logitBytes(const kernels::Logits& z) { return z.type == kernels::LogitsType::float32 ? 4 : 2; }

/// Columns of a tile that is read again.
inline int64_t tileColumns(const kernels::Logits& z) { return std::min(kernels::kTile, z.vocab); }

/// How many positions are marked.
inline int64_t countOf(std::span<const uint8_t> marks) {
  return std::count_if(marks.begin(), marks.end(), [](uint8_t mark) { return mark != 0; });
}

}  // namespace ops
}  // namespace fkinv
