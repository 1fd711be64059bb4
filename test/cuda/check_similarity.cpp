// pass() and merge(): the tile table, S, μ, σ, r_edit and entropy against the truth, by the bounds of kernels.md;
// faults; and that a state's results do not depend on what is beside it.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "../../cpp/ops/read_logits.h"
#include "rows.h"

namespace fkinv::cuda::check {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The tables of the pass and the merge over z.
void read(const Logits& z, double temperature, const Tables& tables) {
  ops::readLogits(z, temperature, {}, tables.of, [](const auto& op) { expect(launch(op, nullptr), op.kName); });
}

// Of `count` states from `first` on.
Results similarity(const Rows& rows, double temperature, int first, int count) {
  const Array<std::byte> memory(rows.memory);
  const Array<int64_t> rowOf(rows.rowOf);
  Shape shape = rows.shape;
  shape.states = count;
  Logits z = rows.logits(memory.data(), rowOf.data() + first * shape.positions);
  z.states = count;
  const Tables tables(shape, kChunkTiles);
  read(z, temperature, tables);
  return tables.results(0, count);
}

struct Columns {
  explicit Columns(const Results& from)
      : max(from.get<float>("max")),
        exponent(from.get<double>("exponent")),
        mass(from.get<float>("mass")),
        weight(from.get<float>("weight")),
        rowMax(from.get<float>("rowMax")),
        rowExponent(from.get<double>("rowExponent")),
        rowMass(from.get<double>("rowMass")),
        entropy(from.get<float>("entropy")),
        gram(from.get<float>("gram")),
        fault(from.get<RowFault>("fault")) {}
  std::vector<float> max;
  std::vector<double> exponent;
  std::vector<float> mass, weight, rowMax;
  std::vector<double> rowExponent, rowMass;
  std::vector<float> entropy, gram;
  std::vector<RowFault> fault;
};

// What a tile's entries stand for: the exact maximum, an integer exponent that leaves x ≤ 3 and is not beyond what was
// met, and with it the sums.
void checkTile(const Rows& rows, const Columns& found, double temperature, std::size_t r, std::size_t tile,
               const std::string& of) {
  const std::size_t at = r * rows.shape.tiles() + tile, begin = tile * kernels::kTile;
  const std::size_t end = std::min(begin + kernels::kTile, rows.shape.width());
  const float* const row = rows.row(r);
  const std::string here = of + format(", row %zu, tile %zu: ", r, tile);
  const float max = *std::max_element(row + begin, row + end);
  const double m = found.exponent[at];
  const auto mass = static_cast<double>(found.mass[at]), weight = static_cast<double>(found.weight[at]);
  expect(found.max[at] == max, here + format("maximum %.9g, not %.9g", found.max[at], max));
  const double met = static_cast<double>(max) * kernels::kLog2e;
  expect(m == std::floor(m) && (std::isinf(met) || met - m <= 3 + 1e-3) && (std::isinf(m) || m < met + 1 + 1e-3),
         here + format("exponent %g of %g", m, met));
  if (max == -kInfinity) {
    expect(mass == 0 && weight == 0, here + format("not empty: %g %g", mass, weight));
    return;
  }
  double sum = 0, tempered = 0;
  for (std::size_t c = begin; c < end; ++c) {
    const double x = static_cast<double>(row[c]) * kernels::kLog2e;
    sum += std::exp2(x - m);
    tempered += std::exp2((x - found.rowExponent[r]) / temperature);
  }
  expect(isClose(mass, sum, 1e-5, 1e-30), here + format("mass %.9g, not %.9g", mass, sum));
  expect(isClose(weight, tempered, 3e-5, 1e-30), here + format("weight %.9g, not %.9g", weight, tempered));
}

struct Moments {
  double mean = 0, deviation = 0, reward = 1;
};
template <class T>
Moments momentsOf(const T* gram, std::size_t N) {
  if (N < 2) return {};
  const double pairs = static_cast<double>(N * (N - 1));
  double mean = 0, squares = 0;
  for (std::size_t at = 0; at < N * N; ++at) mean += at % (N + 1) == 0 ? 0 : static_cast<double>(gram[at]) / pairs;
  for (std::size_t at = 0; at < N * N; ++at) {
    const double off = static_cast<double>(gram[at]) - mean;
    squares += at % (N + 1) == 0 ? 0 : off * off / pairs;
  }
  return {mean, std::sqrt(squares), 1 - (mean + std::sqrt(squares))};
}

void checkState(const Rows& rows, const Columns& found, int state, const std::string& of) {
  const auto N = static_cast<std::size_t>(rows.shape.positions), first = static_cast<std::size_t>(state) * N;
  const Truth truth = truthOf(rows, state);
  const float* const gram = found.gram.data() + first * N;
  expectClose(std::vector<float>(gram, gram + N * N), truth.gram, 1e-5, 1e-7, of + ": S");
  const float* const entropy = found.entropy.data() + first;
  expectClose(std::vector<float>(entropy, entropy + N), truth.entropy, 1e-5, 1e-6, of + ": entropy");
  const Moments ours = momentsOf(gram, N), theirs = momentsOf(truth.gram.data(), N);
  expectClose(std::vector{ours.mean, ours.deviation, ours.reward},
              std::vector{theirs.mean, theirs.deviation, theirs.reward}, 1e-5, 1e-7, of + ": μ, σ, r_edit");
}

void check(const Shape& shape, double temperature, int orders) {
  const std::string of = shape.name() + format(", τ %g", temperature);
  const Rows rows = randomRows(shape, static_cast<uint64_t>(shape.vocab) * 1000 + shape.rows());
  const Columns found(settled(of, orders, [&] { return similarity(rows, temperature, 0, shape.states); }));
  for (std::size_t r = 0; r < shape.rows(); ++r) {
    const std::string here = of + format(", row %zu: ", r);
    const float* const row = rows.row(r);
    const float max = *std::max_element(row, row + shape.width());
    expect(found.fault[r] == RowFault::none && found.rowMax[r] == max, here + "maximum");
    double mass = 0;
    for (std::size_t c = 0; c < shape.width(); ++c) {
      mass += std::exp2(static_cast<double>(row[c]) * kernels::kLog2e - found.rowExponent[r]);
    }
    expect(isClose(found.rowMass[r], mass, 1e-5, 0), here + format("mass %.9g, not %.9g", found.rowMass[r], mass));
    for (std::size_t tile = 0; tile < shape.tiles(); ++tile) checkTile(rows, found, temperature, r, tile, of);
  }
  for (int state = 0; state < shape.states; ++state) checkState(rows, found, state, of);
}

// Alone, a state has the very results that it has in a batch.
void checkAlone(const Shape& shape, double temperature) {
  const Rows rows = randomRows(shape, 7);
  for (int state = 0; state < shape.states; ++state) {
    const Array<std::byte> memory(rows.memory);
    const Array<int64_t> rowOf(rows.rowOf);
    const Logits z = rows.logits(memory.data(), rowOf.data());
    const Tables tables(shape, kChunkTiles);
    read(z, temperature, tables);
    const std::string name = tables.results(state, 1).differing(similarity(rows, temperature, state, 1));
    expect(name.empty(), shape.name() + ": " + name + " depends on the other states");
  }
}

// Rows with a fault beside rows without: what is found of each, and that the others' entropies are as they would be.
void checkFaults(LogitsType type, bool isAligned) {
  const Shape shape = {1, 9, 2500, type, isAligned};
  Rows random = randomRows(shape, 11);
  const auto at = [&](std::size_t r, std::size_t c) -> float& { return random.values[r * shape.width() + c]; };
  const auto fill = [&](std::size_t r, std::size_t first, std::size_t last, float value) {
    for (std::size_t c = first; c < last; ++c) at(r, c) = value;
  };
  at(1, 3) = kNan;
  at(2, 2499) = kInfinity;
  fill(3, 0, shape.width(), -kInfinity);
  fill(4, 1024, 2048, -kInfinity);
  at(4, 1500) = kNan;
  fill(5, 0, shape.width(), -kInfinity);
  at(5, 2490) = kInfinity;
  fill(6, 0, shape.width(), kInfinity);
  fill(7, 0, shape.width(), -kInfinity);
  at(7, 2100) = 2;
  const Rows rows(shape, random.values);
  constexpr std::array kExpected = {RowFault::none,        RowFault::notFinite, RowFault::notFinite,
                                    RowFault::nothingLeft, RowFault::notFinite, RowFault::notFinite,
                                    RowFault::notFinite,   RowFault::none,      RowFault::none};
  const std::string of = "faults, " + shape.name();
  const Columns found(settled(of, 3, [&] { return similarity(rows, 1, 0, 1); }));
  for (std::size_t r = 0; r < shape.rows(); ++r) {
    const std::string here = of + format(", row %zu: ", r);
    expect(found.fault[r] == kExpected[r], here + format("fault %d", static_cast<int>(found.fault[r])));
    if (kExpected[r] != RowFault::none) continue;
    double entropy = 0;
    for (const double log : logSoftmax(rows.row(r), shape.width()))
      entropy -= std::exp(log) > 0 ? std::exp(log) * log : 0;
    expectClose(std::vector{found.entropy[r]}, std::vector{entropy}, 1e-5, 1e-6, here + "entropy");
  }
}

// One golden case, of the type: in float32 against the file, else against the truth of the rounded logits, where
// rounding may leave +inf and hence a fault.
void checkGolden(const Shape& shape, const std::vector<float>& logits, const Truth& golden, double reward,
                 const std::string& of) {
  const Rows rows(shape, logits);
  const Columns found(settled(of, 2, [&] { return similarity(rows, 1, 0, 1); }));
  const auto isInfinite = [](float z) { return z == kInfinity; };
  if (std::any_of(rows.values.begin(), rows.values.end(), isInfinite)) {
    for (std::size_t r = 0; r < shape.rows(); ++r) {
      const bool hasFault = std::any_of(rows.row(r), rows.row(r) + shape.width(), isInfinite);
      expect(found.fault[r] == (hasFault ? RowFault::notFinite : RowFault::none), of + format(": fault of row %zu", r));
    }
    return;
  }
  checkState(rows, found, 0, of);
  if (shape.type != LogitsType::float32) return;
  expectClose(found.gram, golden.gram, 1e-5, 1e-7, of + ": S");
  expectClose(found.entropy, golden.entropy, 1e-5, 1e-6, of + ": entropy");
  expectClose(std::vector{momentsOf(found.gram.data(), shape.rows()).reward}, std::vector{reward}, 1e-5, 1e-7,
              of + ": r_edit");
}

constexpr std::array kTypes = {LogitsType::float32, LogitsType::float16, LogitsType::bfloat16};

}  // namespace

void checkSimilarity(const Extent& extent) {
  int shapes = 0;
  for (const int positions : {1, 2, 16, 24, 77, 80, 81, 128}) {
    for (const int vocab : {3, 31, 2048}) {
      for (const LogitsType type : kTypes) {
        for (const bool isAligned : {true, false}) {
          const double temperature = std::array{1.0, 0.6, 1.6}[static_cast<std::size_t>(shapes++ % 3)];
          if (!extent.isWhole && shapes % 7 != 0) continue;
          check({positions < 77 ? 2 : 1, positions, vocab, type, isAligned}, temperature, 3);
        }
      }
    }
  }
  for (const LogitsType type : kTypes) {
    checkFaults(type, true);
    checkFaults(type, false);
    checkAlone({3, 5, 6000, type, type == LogitsType::float16}, 0.6);
  }
  if (!extent.isWhole) return;
  for (const int positions : {1, 2, 16, 24, 77, 80, 81, 128}) {
    const auto i = static_cast<std::size_t>(shapes++);
    check({1, positions, 50257, kTypes[i % 3], i % 2 == 0}, i % 4 == 1 ? 0.6 : 1, 2);
  }
  check({1, 77, 126464, LogitsType::float16, true}, 1, 2);
}

void checkGoldenCoupling(Numbers& numbers) {
  const std::size_t cases = numbers.nextCount();
  for (std::size_t i = 0; i < cases; ++i) {
    const std::size_t N = numbers.nextCount(), V = numbers.nextCount();
    const std::vector<double> exact = numbers.next(N * V);
    const std::vector<float> logits(exact.begin(), exact.end());
    const Truth golden{numbers.next(N * N), numbers.next(N)};
    const double reward = numbers.next();
    for (const LogitsType type : kTypes) {
      for (const bool isAligned : {true, false}) {
        const Shape shape = {1, static_cast<int>(N), static_cast<int>(V), type, isAligned};
        checkGolden(shape, logits, golden, reward, format("golden case %zu, ", i) + shape.name());
      }
    }
  }
}

}  // namespace fkinv::cuda::check
