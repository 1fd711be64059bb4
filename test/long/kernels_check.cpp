// Holds the vectorised kernels of every instruction set that this processor has to those of the baseline, and their 2^x
// to the C library's in float64 over every float (kernels.long.ts). Where SIMDe is there, AVX-512 is among them as
// "emulated": its source, in the instructions that this processor has.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "device/parallel.h"
#include "kernels/host_tables.h"
#include "kernels/instruction_set.h"

namespace fkinv::kernels {

#if defined(FKINV_EMULATED)
extern const InstructionSet emulated;
#endif

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

void expect(bool holds, const std::string& what) {
  if (!holds) fail(what);
}

float floatOf(uint32_t bits) { return std::bit_cast<float>(bits); }

// The unit in the last place that a float has at `exact`.
double ulpAt(double exact) {
  return std::bit_cast<double>(std::bit_cast<uint64_t>(exact) & 0x7ff0000000000000u) * 0x1p-23;
}

// The largest error of 2^x over every float x from `first` to `last` (bits of one sign), in units in the last place.
double maximalUlp(const InstructionSet& set, ThreadPool& pool, uint32_t first, uint32_t last) {
  constexpr uint32_t kPiece = 1u << 16;
  std::mutex mutex;
  double worst = 0;
  pool.run((last - first) / kPiece + 1, [&](int64_t piece) {
    const uint32_t from = first + static_cast<uint32_t>(piece) * kPiece;
    const uint32_t n = std::min(kPiece, last - from + 1);
    std::vector<float> x(n), y(n);
    for (uint32_t i = 0; i < n; ++i) x[i] = floatOf(from + i);
    set.exp2(x.data(), y.data(), static_cast<int>(n));
    double ulp = 0;
    for (uint32_t i = 0; i < n; ++i) {
      const double exact = std::exp2(static_cast<double>(x[i]));
      ulp = std::max(ulp, std::fabs(static_cast<double>(y[i]) - exact) / ulpAt(exact));
    }
    const std::lock_guard lock(mutex);
    worst = std::max(worst, ulp);
  });
  return worst;
}

// 2^x from −126 to 127; nearer to 0 than 2^-26 it is 1. And what is not a number of that range.
void checkExp2(const InstructionSet& set) {
  ThreadPool pool(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  const auto bits = [](float x) { return std::bit_cast<uint32_t>(x); };
  const double ulp = std::max(maximalUlp(set, pool, bits(0x1p-26f), bits(127.0f)),
                              maximalUlp(set, pool, bits(-0x1p-26f), bits(-126.0f)));
  std::printf("%s: 2^x is off by at most %.3f ulp\n", set.name, ulp);
  expect(ulp < 3, std::string(set.name) + ": 2^x is off by 3 ulp and more");
  for (const float x : {0.0f, -0.0f, 0x1p-27f, -0x1p-27f, 1e-38f, -1e-45f, std::nextafter(-126.0f, -127.0f), -127.0f,
                        -150.0f, -1e5f, -3e38f, -kInfinity}) {
    float y;
    set.exp2(&x, &y, 1);
    expect(y == (x < -126 ? 0.0f : 1.0f), std::string(set.name) + ": 2^x of " + std::to_string(x));
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  float y;
  set.exp2(&nan, &y, 1);
  expect(std::isnan(y), std::string(set.name) + ": 2^NaN");
}

// What the pass of a set makes of logits of one shape.
struct Pass {
  Pass(const InstructionSet& set, const Logits& z, double temperature)
      : shape{z.states, z.positions, z.vocab, kChunk}, tables(shape) {
    const Workspace space(z.positions);
    for (int state = 0; state < z.states; ++state) {
      for (int chunk = 0; chunk < z.chunks(); ++chunk) set.passChunk(z, temperature, of(), state, chunk, space);
    }
  }
  const TileTable& of() const { return tables.tiles(); }
  PassShape shape;
  HostTables tables;
};

// Within 3e-5 of `b` or of `scale`, whichever is larger: x of 126 is a float of six digits and a half, and 2^(x/τ) has
// its error.
void expectClose(float a, float b, double scale, const std::string& what) {
  if ((std::isnan(a) && std::isnan(b)) || a == b) return;
  const double ours = static_cast<double>(a), theirs = static_cast<double>(b);
  if (std::fabs(ours - theirs) <= 3e-5 * std::max(scale, std::fabs(theirs))) return;
  char numbers[80];
  std::snprintf(numbers, sizeof numbers, ": %.9g, the baseline has %.9g", ours, theirs);
  fail(what + numbers);
}

void compare(const InstructionSet& set, const Logits& z, double temperature) {
  const std::string of = std::string(set.name) + ", " + std::to_string(z.states) + " × " + std::to_string(z.positions) +
                         " × " + std::to_string(z.vocab) + ", τ " + std::to_string(temperature);
  const InstructionSet& baseline = *instructionSets().front();
  const Pass ours(set, z, temperature), theirs(baseline, z, temperature);
  const TileTable &a = ours.of(), &b = theirs.of();
  for (int64_t i = 0; i < ours.shape.cells(); ++i) {
    expect(a.max[i] == b.max[i] && a.exponent[i] == b.exponent[i], of + ": maximum or exponent");
    expectClose(a.mass[i], b.mass[i], 1e-30, of + ": mass");
    expectClose(a.moment[i], b.moment[i], 126 * static_cast<double>(b.mass[i]), of + ": moment");
    expectClose(a.weight[i], b.weight[i], 1e-30, of + ": weight");
  }
  const int64_t products = z.states * ours.shape.chunks() * ours.shape.pairs();
  for (int64_t i = 0; i < products; ++i) expectClose(a.gram[i], b.gram[i], 1e-30, of + ": Gram");
  TileWeights mine, base;
  for (int64_t r = 0; r < z.rows(); ++r) {
    for (int tile = 0; tile < z.tiles(); ++tile) {
      const int64_t cell = r * z.tiles() + tile;
      if (!std::isfinite(a.exponent[cell]) || !std::isfinite(a.mass[cell])) continue;
      const float threshold = tile % 2 == 0 ? -kInfinity : a.max[cell] - 3;
      set.weighTile(z, r, tile, a.exponent[cell], temperature, threshold, mine);
      baseline.weighTile(z, r, tile, a.exponent[cell], temperature, threshold, base);
      expectClose(static_cast<float>(mine.total), static_cast<float>(base.total), 0, of + ": sum of weights");
      const int width = std::min(kTile, z.vocab - tile * kTile);
      for (int c = 0; c < width; ++c) {
        expectClose(mine.ofToken[c], base.ofToken[c], 1e-30, of + ": weight of a token");
      }
      for (int group = 0; group * TileWeights::kGroup < width; ++group) {
        const float* first = base.ofToken + group * TileWeights::kGroup;
        const double sum = std::accumulate(first, first + TileWeights::kGroup, 0.0);
        expectClose(static_cast<float>(mine.ofGroup[group]), static_cast<float>(sum), 1e-30,
                    of + ": weight of a group");
      }
    }
  }
}

void compareAll(const InstructionSet& set) {
  std::mt19937 random(20261125);
  std::normal_distribution<float> normal(0, 1);
  int shapes = 0;
  for (const int vocab : {1, 3, 15, 17, 511, 513, 1024, 1025, 2047, 2500, 16384, 20000, 50257}) {
    for (const int positions : {1, 2, 3, 4, 5, 7, 24}) {
      for (const LogitsType type : {LogitsType::float32, LogitsType::float16, LogitsType::bfloat16}) {
        const auto size = static_cast<std::size_t>(2 * positions) * static_cast<std::size_t>(vocab);
        const float scale = std::array{0.5f, 4.0f, 60.0f}[static_cast<std::size_t>(shapes % 3)];
        std::vector<float> logits(size);
        for (float& z : logits) {
          z = scale * normal(random);
          if (random() % 16 == 0) z = -kInfinity;
        }
        if (shapes % 5 == 0) logits[random() % size] = 8e4f;
        if (shapes % 7 == 0) logits[random() % size] = std::numeric_limits<float>::quiet_NaN();
        std::vector<uint16_t> halves(size);  // any bits are logits
        for (std::size_t i = 0; i < size; ++i) {
          halves[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(logits[i]) >> 16);
          if (type == LogitsType::float16) halves[i] = static_cast<uint16_t>(random() % 2 << 15 | random() % 0x5000);
        }
        std::vector<int64_t> rowOf(static_cast<std::size_t>(2 * positions));
        std::iota(rowOf.begin(), rowOf.end(), 0);
        void* data = type == LogitsType::float32 ? static_cast<void*>(logits.data()) : halves.data();
        const Logits z = {data, type, vocab, rowOf.data(), 2, positions, vocab};
        compare(set, z, std::array{1.0, 0.4, 2.0}[static_cast<std::size_t>(shapes++ % 3)]);
      }
    }
  }
  std::printf("%s: %d shapes as in the baseline\n", set.name, shapes);
}

}  // namespace
}  // namespace fkinv::kernels

int main() {
  using namespace fkinv::kernels;
  std::vector<const InstructionSet*> sets(instructionSets().begin(), instructionSets().end());
#if defined(FKINV_EMULATED)
  sets.push_back(&emulated);
#endif
  for (const InstructionSet* set : sets) {
    compareAll(*set);
    checkExp2(*set);
  }
}
