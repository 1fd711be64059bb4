// What the kernels read and what the pass leaves for the others.
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

/// What one read of the logits leaves of each tile. With m a tile's `exponent` (integral, or −inf where nothing was met
/// yet) and x = z·log2e − m ≤ 3: mass Σ 2^x, moment Σ x·2^x, weight Σ 2^(x/τ). The exponents of a chunk only grow; gram
/// is Σ 2^(x_i + x_j) of the chunk's columns by the exponents of its last tile.
struct TileTable {
  float* max;        // [rows, tiles]
  double* exponent;  // [rows, tiles]
  float* mass;       // [rows, tiles]
  float* moment;     // [rows, tiles]
  float* weight;  // [rows, tiles] after the merge by the row's exponent: what a draw picks the tile by; unused at τ = 0
  float* gram;    // [states, chunks, pairs], the upper triangle with its diagonal, row by row
};

/// Why a row cannot be used.
enum class RowFault : uint8_t { none = 0, notFinite = 1, nothingLeft = 2 };

/// Softmax statistics of each row, and the token-to-token similarity S = P̂P̂ᵀ of each state.
struct RowStats {
  float* max;            // [rows] exact maximum
  double* exponent;      // [rows] m
  double* mass;          // [rows] L = Σ 2^(z·log2e − m)
  double* temperedMass;  // [rows] Σ 2^((z·log2e − m)/τ) over the kept tokens, the sum of the tiles' weights
  float* threshold;      // [rows] tokens with z below it are not drawn (kernels/truncate.h); −inf keeps all
  float* entropy;        // [rows] nats, at least 0
  RowFault* fault;       // [rows]
  float* gram;           // [states, positions, positions]
};

}  // namespace fkinv::kernels
