// Logits of a few states for kernels and on the host, and the truth about them: the formulas in float64.
#pragma once
#include <memory>

#include "../../cpp/device/device.h"
#include "../../cuda/launchers.h"
#include "check.h"

namespace fkinv::cuda::check {

using kernels::LogitsType;
using kernels::RowFault;

struct Shape {
  int states, positions, vocab;
  LogitsType type;
  /// Rows that begin at 16 bytes; else rows that do not.
  bool isAligned;

  std::size_t rows() const { return static_cast<std::size_t>(states) * static_cast<std::size_t>(positions); }
  std::size_t width() const { return static_cast<std::size_t>(vocab); }
  std::size_t tiles() const { return (width() + kernels::kTile - 1) / kernels::kTile; }
  std::string name() const;
};

/// Logits as their type holds them, in memory in an order of their own, with NaN between the rows.
class Rows {
 public:
  /// values [rows, vocab], rounded to the type.
  Rows(const Shape& shape, const std::vector<float>& values);

  const Shape shape;
  std::vector<float> values;      // [rows, vocab] after rounding
  std::vector<std::byte> memory;  // what `data` points to
  std::vector<int64_t> rowOf;
  int64_t stride;

  const float* row(std::size_t r) const { return values.data() + r * shape.width(); }
  /// Of the given memory, which holds a copy of the above.
  Logits logits(void* data, const int64_t* rows) const {
    return {data, shape.type, stride, rows, shape.states, shape.positions, shape.vocab};
  }
};

/// Logits that the kernels are checked with: normal of various widths, some suppressed, rows whose maximum comes late,
/// that are peaky, that are shifted.
Rows randomRows(const Shape& shape, uint64_t seed);

/// Tables of the pass and of the merge, whose chunks have so many tiles.
struct Tables {
  Tables(const Shape& shape, int chunkTiles);
  /// Of the states from `first` on.
  Results results(int first, int count) const;

  kernels::PassShape shape;
  std::vector<std::unique_ptr<Array<std::byte>>> memory;
  kernels::PassResult of;
};

/// log softmax of a row in float64.
std::vector<double> logSoftmax(const float* row, std::size_t width);

/// S of one state, the entropies of its rows.
struct Truth {
  std::vector<double> gram, entropy;
};
Truth truthOf(const Rows& rows, int state);

}  // namespace fkinv::cuda::check
