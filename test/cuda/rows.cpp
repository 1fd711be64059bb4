#include "rows.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <random>

namespace fkinv::cuda::check {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// `value` as the type holds it, into `to`; returns it as a float again.
float round(LogitsType type, float value, std::byte* to) {
  if (type == LogitsType::float32) {
    std::memcpy(to, &value, sizeof value);
    return value;
  }
  if (type == LogitsType::float16) {
    const __half half = __float2half_rn(value);
    std::memcpy(to, &half, sizeof half);
    return __half2float(half);
  }
  const __nv_bfloat16 half = __float2bfloat16_rn(value);
  std::memcpy(to, &half, sizeof half);
  return __bfloat162float(half);
}

std::size_t bytesOf(LogitsType type) { return type == LogitsType::float32 ? 4 : 2; }

// The next larger stride at which all rows begin at 16 bytes, or at which some do not, with a gap between the rows.
int64_t strideOf(const Shape& shape) {
  const int perLine = static_cast<int>(16 / bytesOf(shape.type));
  const int whole = (shape.vocab / perLine + 1) * perLine;
  return shape.isAligned ? whole : whole + 1;
}

}  // namespace

std::string Shape::name() const {
  const char* of = type == LogitsType::float32 ? "float32" : type == LogitsType::float16 ? "float16" : "bfloat16";
  return format("%d × %d × %d of %s, %saligned", states, positions, vocab, of, isAligned ? "" : "not ");
}

Rows::Rows(const Shape& given, const std::vector<float>& from)
    : shape(given), values(from), rowOf(shape.rows()), stride(strideOf(shape)) {
  std::iota(rowOf.begin(), rowOf.end(), 0);
  std::shuffle(rowOf.begin(), rowOf.end(), std::mt19937(static_cast<unsigned>(shape.vocab)));
  const std::size_t each = bytesOf(shape.type), rowBytes = static_cast<std::size_t>(stride) * each;
  memory.resize(rowBytes * (shape.rows() - 1) + shape.width() * each);  // nothing behind the last row
  for (std::size_t at = 0; at < memory.size(); at += each) round(shape.type, kNan, memory.data() + at);
  for (std::size_t r = 0; r < shape.rows(); ++r) {
    std::byte* const to = memory.data() + static_cast<std::size_t>(rowOf[r]) * rowBytes;
    for (std::size_t c = 0; c < shape.width(); ++c) {
      float& value = values[r * shape.width() + c];
      value = round(shape.type, value, to + c * each);
    }
  }
}

Rows randomRows(const Shape& shape, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(shape.rows() * shape.width());
  for (std::size_t r = 0; r < shape.rows(); ++r) {
    float* const row = values.data() + r * shape.width();
    const float scale = std::array{0.5f, 3.0f, 10.0f}[random() % 3];
    const uint64_t kind = random() % 6;
    for (std::size_t c = 0; c < shape.width(); ++c) {
      row[c] = scale * normal(random);
      if (kind == 1)
        row[c] += 200 * static_cast<float>(c) / static_cast<float>(shape.width());  // the maximum comes late
      if (kind == 2) row[c] -= 6e4f;
      if (kind == 3) row[c] -= 3 * static_cast<float>(c / kernels::kTile % 7);
    }
    if (kind == 4) row[random() % shape.width()] = 60;
    const std::size_t kept = random() % shape.width();
    for (std::size_t c = 0; c < shape.width(); ++c) {
      const bool isInHiddenTile = kind == 5 && c / kernels::kTile == 1;
      if (c != kept && (random() % 16 == 0 || isInHiddenTile)) row[c] = -kInfinity;
    }
  }
  return {shape, values};
}

Tables::Tables(const Shape& given, int chunkTiles)
    : shape{given.states, given.positions, given.vocab, chunkTiles},
      of(kernels::takeTables(shape, [&](std::size_t bytes) {
        return memory.emplace_back(std::make_unique<Array<std::byte>>(bytes))->data();
      })) {}

// By their places in the list of fields; checks ask for some of them by name.
Results Tables::results(int first, int count) const {
  Results results;
  const auto addAll = [&](auto table, std::vector<const char*> names) {
    auto name = names.begin();
    std::vector<std::size_t> before;
    kernels::eachArray(table, shape.of(first),
                       [&](auto*&, int64_t size) { before.push_back(static_cast<std::size_t>(size)); });
    auto from = before.begin();
    kernels::eachArray(table, shape.of(count), [&](auto*& array, int64_t size) {
      results.add(*name++, array + *from++, static_cast<std::size_t>(size));
    });
  };
  addAll(of.tiles, {"max", "exponent", "mass", "moment", "weight", "chunkGram"});
  addAll(of.rows, {"rowMax", "rowExponent", "rowMass", "temperedMass", "threshold", "entropy", "fault", "gram"});
  return results;
}

std::vector<double> logSoftmax(const float* row, std::size_t width) {
  const auto max = static_cast<double>(*std::max_element(row, row + width));
  double mass = 0;
  for (std::size_t c = 0; c < width; ++c) mass += std::exp(static_cast<double>(row[c]) - max);
  std::vector<double> result(width);
  for (std::size_t c = 0; c < width; ++c) result[c] = static_cast<double>(row[c]) - max - std::log(mass);
  return result;
}

Truth truthOf(const Rows& rows, int state) {
  const auto N = static_cast<std::size_t>(rows.shape.positions);
  Truth truth{std::vector<double>(N * N), std::vector<double>(N)};
  std::vector<std::vector<double>> probabilities;
  for (std::size_t i = 0; i < N; ++i) {
    std::vector<double> p = logSoftmax(rows.row(static_cast<std::size_t>(state) * N + i), rows.shape.width());
    for (double& log : p) {
      const double probability = std::exp(log);
      truth.entropy[i] -= probability > 0 ? probability * log : 0;
      log = probability;
    }
    probabilities.push_back(std::move(p));
  }
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t j = i; j < N; ++j) {
      const double s =
          std::inner_product(probabilities[i].begin(), probabilities[i].end(), probabilities[j].begin(), 0.0);
      truth.gram[i * N + j] = truth.gram[j * N + i] = s;
    }
  }
  return truth;
}

}  // namespace fkinv::cuda::check
