// The Gram of a block of exponentials.
#pragma once
#include "vector.h"

namespace fkinv::kernels {
namespace {

constexpr int kGramRows = 4;

// to[j·stride + i] += Σ_c a_i[c]·b_j[c] of four rows i and kColumns rows j: each of its 4·kColumns sums is a register.
template <int kColumns>
inline void gramTile(const float* a, const float* b, int64_t rowStride, int width, float* to, int64_t stride) {
  Vector sums[kColumns][kGramRows];
  for (auto& column : sums) {
    for (Vector& sum : column) sum = broadcast(0);
  }
  for (int c = 0; c < width; c += kLanes) {
    Vector right[kColumns];
    for (int j = 0; j < kColumns; ++j) right[j] = load(b + j * rowStride + c);
    for (int i = 0; i < kGramRows; ++i) {
      const Vector left = load(a + i * rowStride + c);
      for (int j = 0; j < kColumns; ++j) sums[j][i] = multiplyAdd(left, right[j], sums[j][i]);
    }
  }
  for (int j = 0; j < kColumns; ++j) addSums(to + j * stride, sums[j][0], sums[j][1], sums[j][2], sums[j][3]);
}

// Adds up what the last columns give, in a smaller block: there are fewer of them than kColumns.
template <int kColumns>
inline void gramRest(int columns, const float* a, const float* b, int64_t rowStride, int width, float* to,
                     int64_t stride) {
  if constexpr (kColumns > 0) {
    if (columns == kColumns) {
      gramTile<kColumns>(a, b, rowStride, width, to, stride);
    } else {
      gramRest<kColumns - 1>(columns, a, b, rowStride, width, to, stride);
    }
  }
}

/// gram[j·stride + i] += Σ_c e_i[c]·e_j[c] for i ≤ j < positions, and for some i > j besides, which mean nothing. `e`
/// [roundUp(positions, 4)] are rows of `width` columns, whole vectors, `rowStride` apart. between() is called for every
/// 4 × kColumns sums.
template <class Between>
void addGram(const float* e, int positions, int64_t rowStride, int width, float* gram, int64_t stride,
             Between between) {
  for (int j = 0; j < positions; j += kGramColumns) {
    const int columns = positions - j < kGramColumns ? positions - j : kGramColumns;
    for (int i = 0; i < j + columns; i += kGramRows) {
      between();
      gramRest<kGramColumns>(columns, e + i * rowStride, e + j * rowStride, rowStride, width, gram + j * stride + i,
                             stride);
    }
  }
}

}  // namespace
}  // namespace fkinv::kernels
