// K1 (kernels/pass.h) in the vectors of one instruction set.
#pragma once
#include <cmath>

#include "../pass.h"
#include "../power_of_two.h"
#include "gram.h"
#include "row.h"

namespace fkinv::kernels {
namespace {

constexpr double kLazy = 3;  // how far a row may grow past its exponent before that follows
constexpr double kNothing = -std::numeric_limits<double>::infinity();

// What a row's block adds to its sums.
struct BlockSums {
  float max;
  double mass, moment, weight;
};

// e[c] = 2^x of n columns, whole vectors.
template <bool kTempered>
BlockSums exponentiate(const float* logits, const Exponents x, int n, float inverse, float* e) {
  const Vector lowest = broadcast(kLowest), by = broadcast(inverse);
  Vector max = broadcast(kMinusInfinity), mass = broadcast(0), moment = broadcast(0), weight = broadcast(0);
  for (int c = 0; c < n; c += kLanes) {
    max = larger(load(logits + c), max);
    const Vector v = x.at(c), p = x.power(c);
    store(e + c, p);
    mass = add(mass, p);
    moment = multiplyAdd(larger(lowest, v), p, moment);  // 0 · −inf would be NaN
    if constexpr (kTempered) weight = add(weight, exp2Flushed(multiply(v, by)));
  }
  const double total = sum(mass);
  return {maximumOf(max), total, sum(moment), kTempered ? sum(weight) : total};
}

// Moves the exponent up to `max` where that is due, and multiplies the sums so far by a power of two; whether it did.
bool raise(Workspace::Row& row, float max, double inverse) {
  const double wanted = std::ceil(static_cast<double>(max) * kLog2e);
  if (!(wanted > row.exponent + kLazy)) return false;
  const double shift = row.exponent - wanted, scale = powerOfTwo(shift);  // −inf and 0 for the first
  row.moment = scale > 0 ? scale * (row.moment + row.mass * shift) : 0;
  row.mass *= scale;
  row.weight *= inverse == 1 ? scale : std::exp2(shift * inverse);
  row.scale *= static_cast<float>(scale);
  row.exponent = wanted;
  return true;
}

// Exponentials and sums of one row over `width` columns: by the exponent so far, as it seldom moves, and once more if
// it does.
void readRow(const Logits& z, int64_t r, int first, int width, double inverse, float* e, Workspace::Row& row) {
  float buffer[kBlock], formed[kBlock];
  const int whole = roundUp(width, kLanes);
  const float* logits = read(z, r, first, width, whole, buffer);
  const auto sums = [&] {
    // A row with nothing yet still looks for NaN: −inf − 0 gives 0, NaN stays.
    const Exponents x(logits, whole, row.exponent == kNothing ? 0 : row.exponent, formed);
    if (inverse == 1) return exponentiate<false>(logits, x, whole, 1, e);
    return exponentiate<true>(logits, x, whole, static_cast<float>(inverse), e);
  };
  row.scale = 1;
  if (row.exponent == kNothing) raise(row, maximum(logits, whole), inverse);
  BlockSums block = sums();
  if (raise(row, block.max, inverse)) block = sums();
  row.max = block.max > row.max ? block.max : row.max;
  row.mass += block.mass;
  row.moment += block.moment;
  row.weight += block.weight;
}

// Pairs whose exponents moved.
void rescaleGram(const Workspace& space) {
  bool isMoved = false;
  for (int i = 0; i < space.positions; ++i) isMoved = isMoved || space.rows[i].scale != 1;
  if (!isMoved) return;
  for (int j = 0; j < space.positions; ++j) {
    float* column = space.gram + static_cast<int64_t>(j) * space.padded;
    for (int i = 0; i <= j; ++i) column[i] *= space.rows[i].scale * space.rows[j].scale;
  }
}

// Asks for the logits of a state's next block, `width` columns from `first` on, half a row of it at each call, while
// the Gram of this one is formed: each row is a stream too short for the processor to foresee.
class NextBlock {
 public:
  NextBlock(const Logits& z, int64_t firstRow, int first, int width)
      : z_(z),
        row_(firstRow),
        end_(width > 0 ? firstRow + z.positions : firstRow),
        logitBytes_(z.type == LogitsType::float32 ? 4 : 2),
        first_(first * logitBytes_),
        bytes_(width * logitBytes_) {}

  void operator()() {
    if (row_ == end_) return;
    const char* row = static_cast<const char*>(z_.data) + z_.rowOf[row_] * z_.rowStride * logitBytes_;
    for (int64_t line = 0; line < kLines; ++line) prefetch(row + first_ + byte_ + line * kLine);
    byte_ += kLines * kLine;
    if (byte_ < bytes_) return;
    byte_ = 0;
    ++row_;
  }

 private:
  static constexpr int64_t kLine = 64, kLines = 16;
  const Logits& z_;
  int64_t row_, end_, logitBytes_, first_, bytes_, byte_ = 0;
};

void passTile(const Logits& z, double inverse, int64_t firstRow, int tile, const Workspace& space) {
  const int begin = tile * kTile, end = begin + kTile < z.vocab ? begin + kTile : z.vocab;
  for (int i = 0; i < z.positions; ++i) {
    Workspace::Row& row = space.rows[i];
    row.mass = row.moment = row.weight = 0;
    row.max = kMinusInfinity;
  }
  for (int first = begin; first < end; first += kBlock) {
    const int width = first + kBlock < end ? kBlock : end - first;
    for (int i = 0; i < z.positions; ++i) {
      readRow(z, firstRow + i, first, width, inverse, space.exps + i * Workspace::kRowStride, space.rows[i]);
    }
    rescaleGram(space);
    addGram(space.exps, z.positions, Workspace::kRowStride, roundUp(width, kLanes), space.gram, space.padded,
            NextBlock(z, firstRow, first + width, z.vocab - first - width < kBlock ? z.vocab - first - width : kBlock));
  }
}

void passChunk(const Logits& z, double temperature, const TileTable& out, int state, int chunk,
               const Workspace& space) {
  const int positions = z.positions, tiles = (z.vocab + kTile - 1) / kTile;
  const int first = chunk * kChunk, last = first + kChunk < tiles ? first + kChunk : tiles;
  const int64_t firstRow = static_cast<int64_t>(state) * positions;
  // At τ = 0 no draw asks for weights.
  const double inverse = temperature == 0 ? 1 : 1 / temperature;
  for (int i = 0; i < positions; ++i) space.rows[i].exponent = kNothing;
  for (int at = 0; at < positions * space.padded; ++at) space.gram[at] = 0;
  for (int tile = first; tile < last; ++tile) {
    passTile(z, inverse, firstRow, tile, space);
    for (int i = 0; i < positions; ++i) {
      const Workspace::Row& row = space.rows[i];
      const int64_t at = (firstRow + i) * tiles + tile;
      out.max[at] = row.max;
      out.exponent[at] = row.exponent;
      out.mass[at] = static_cast<float>(row.mass);
      out.moment[at] = static_cast<float>(row.moment);
      out.weight[at] = static_cast<float>(row.weight);
    }
  }
  const int chunks = (tiles + kChunk - 1) / kChunk, pairs = positions * (positions + 1) / 2;
  float* pair = out.gram + (static_cast<int64_t>(state) * chunks + chunk) * pairs;
  for (int i = 0; i < positions; ++i) {
    for (int j = i; j < positions; ++j) *pair++ = space.gram[j * space.padded + i];
  }
}

}  // namespace
}  // namespace fkinv::kernels
