// What the kernels read; what the pass leaves of it for the others is in pass_result.h.
#pragma once
#include <cstdint>

#include "host_device.h"

namespace fkinv::kernels {

/// Columns of a tile, on every device: draws pick a tile first, then a token inside it (algorithm.md, Randomness).
inline constexpr int kTile = 1024;
/// Tiles of a chunk: the stretch of columns that one thread reads for all positions, and that the Gram is summed over
/// before it is merged.
inline constexpr int kChunk = 16;
/// log2(e) as a float, so that one FMA forms z·log2e − m: as if τ were 1 − 1.3e-8, everywhere alike.
inline constexpr double kLog2e = 0x1.715476p+0;
inline constexpr double kLn2 = 0.6931471805599453;  // ln(2)

enum class LogitsType : uint8_t { float32, float16, bfloat16 };
inline constexpr const char* kLogitsTypeNames[] = {"float32", "float16", "bfloat16"};

/// Logits of the distinct states, where ONNX Runtime wrote them. Position i of state q is the row
/// `data + rowOf[q·positions + i]·rowStride`, `vocab` columns wide; offsets are 64-bit (Q·N·V passes 2^31). Kernels
/// read them through widen.h, those in vectors through vectorised/row.h.
struct Logits {
  void* data;
  LogitsType type;
  int64_t rowStride;     // in elements
  const int64_t* rowOf;  // [states, positions]
  int states, positions, vocab;

  FKINV_HOST_DEVICE int64_t rows() const { return static_cast<int64_t>(states) * positions; }
  FKINV_HOST_DEVICE int tiles() const { return (vocab + kTile - 1) / kTile; }
  FKINV_HOST_DEVICE int chunks() const { return (tiles() + kChunk - 1) / kChunk; }
  FKINV_HOST_DEVICE int pairs() const { return positions * (positions + 1) / 2; }
};

}  // namespace fkinv::kernels
