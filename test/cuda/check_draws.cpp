// suppress(), truncate(), draw(), redraw() and score() against the CPU twins: the same thresholds and the same tokens,
// but where a mass or a uniform lies within rounding of a boundary.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <random>

#include "../../cpp/device/cpu_device.h"
#include "../../cpp/ops/read_logits.h"
#include "rows.h"

namespace fkinv::cuda::check {
namespace {

constexpr double kBoundary = 1e-6;  // nearer to one than this a draw may go either way
constexpr kernels::Order kScored[] = {kernels::Order::confidence, kernels::Order::entropy, kernels::Order::margin};

struct Case {
  Shape shape;
  Layout layout;
  double temperature;
  kernels::Truncation truncation;
  uint32_t step, guess;
  kernels::Purpose purpose;

  std::size_t particles() const { return static_cast<std::size_t>(layout.particles()); }
  std::size_t places() const { return particles() * static_cast<std::size_t>(layout.length); }
  std::string name() const {
    return shape.name() + format(", %d particles, τ %g, top-k %d, top-p %g", layout.particles(), temperature,
                                 truncation.topK, truncation.topP);
  }
};

// What a case is given, on the host.
struct Given {
  explicit Given(const Case& c);

  Rows rows;
  std::vector<int32_t> stateOf;
  std::vector<uint8_t> wanted;
  std::vector<uint64_t> seeds;
  std::vector<int32_t> suppressed;
  std::vector<uint8_t> suppressedAt;
  std::vector<Redraw> redraws;
};

Given::Given(const Case& c)
    : rows(randomRows(c.shape, static_cast<uint64_t>(c.shape.vocab) + c.places())),
      stateOf(c.particles()),
      wanted(c.places()),
      seeds(static_cast<std::size_t>(c.layout.images)),
      suppressed(c.shape.width() / 10),
      suppressedAt(static_cast<std::size_t>(c.shape.positions)) {
  std::mt19937_64 random(c.places());
  const auto below = [&](int n) { return static_cast<int32_t>(random() % static_cast<uint64_t>(n)); };
  for (int32_t& state : stateOf) state = below(c.shape.states);
  for (uint8_t& is : wanted) is = below(4) != 0;
  for (uint64_t& seed : seeds) seed = random();
  for (int32_t& id : suppressed) id = below(c.shape.vocab);
  for (uint8_t& is : suppressedAt) is = below(2) != 0;

  std::vector<int> places(c.places());
  std::iota(places.begin(), places.end(), 0);
  std::shuffle(places.begin(), places.end(), random);
  places.resize(std::min<std::size_t>(places.size(), 5));
  for (const int place : places) {
    Redraw redraw{place / c.layout.length, place % c.layout.length, std::vector<int32_t>(redraws.size() * 2)};
    for (int32_t& id : redraw.excluded) id = below(c.shape.vocab);
    redraws.push_back(redraw);
  }
  if (c.shape.vocab < 40) {  // nothing is left of the first
    redraws.front().excluded.resize(c.shape.width());
    std::iota(redraws.front().excluded.begin(), redraws.front().excluded.end(), 0);
  }
}

// Where draws are written, with marks that a place was not.
struct Drawn {
  explicit Drawn(std::size_t places)
      : tokens(std::vector<int32_t>(places, -7)),
        logModel(std::vector<double>(places, -7)),
        logProposal(logModel.host()) {}
  void addTo(Results& results, const std::string& name) const {
    results.add(name + " tokens", tokens);
    results.add(name + " log p", logModel);
    results.add(name + " log τ", logProposal);
  }
  Array<int32_t> tokens;
  Array<double> logModel, logProposal;
};

// All that the kernels leave of a case, run by run(op), on a device whose chunks have so many tiles: one with memory
// that the host has too, so that the ops are the same on both.
template <class Run>
Results resultsOf(const Case& c, const Given& given, int chunkTiles, Run run) {
  const Array<std::byte> memory(given.rows.memory);
  const Array<int64_t> rowOf(given.rows.rowOf);
  const Array<int32_t> stateOf(given.stateOf), suppressed(given.suppressed);
  const Array<uint8_t> wanted(given.wanted), suppressedAt(given.suppressedAt);
  const Array<uint64_t> seeds(given.seeds);
  const Logits z = given.rows.logits(memory.data(), rowOf.data());
  const Tables tables(c.shape, chunkTiles);
  const auto& [tiles, rows] = tables.of;
  const auto drawsTo = [&](const Drawn& to) {
    return Draws{stateOf.data(),   wanted.data(),      seeds.data(),         c.step, c.purpose, c.guess,
                 to.tokens.data(), to.logModel.data(), to.logProposal.data()};
  };
  Results results;
  run(ops::Suppress{z, {suppressed.data(), suppressed.size()}, {suppressedAt.data(), suppressedAt.size()}});
  ops::readLogits(z, c.temperature, c.truncation, tables.of, run);
  const Drawn drawn(c.places()), redrawn(c.places());
  run(ops::Draw{z, c.temperature, tiles, rows, c.layout, drawsTo(drawn)});
  const kernels::RedrawLists lists(given.redraws);
  const int count = static_cast<int>(given.redraws.size());
  const Array<int32_t> places(lists.places), excluded(lists.excluded), firstOf(lists.firstOf);
  const Array<int32_t> tokens(given.redraws.size());
  ops::Redraw redraw = {z,     c.temperature, c.truncation,    c.layout,       drawsTo(redrawn),
                        count, places.data(), excluded.data(), firstOf.data(), tokens.data()};
  const Array<std::byte> workspace(workspaceBytes(redraw));
  redraw.workspace = workspace.data();
  run(redraw);
  for (const kernels::Order order : kScored) {
    const Array<double> scores(std::vector<double>(c.places(), -7));
    run(ops::Score{order, z, tiles, rows, c.layout, stateOf.data(), wanted.data(), drawn.logModel.data(),
                   scores.data()});
    results.add(format("scores %d", static_cast<int>(order)), scores);
  }
  results.add("memory", memory);
  results.add("threshold", rows.threshold, c.shape.rows());
  drawn.addTo(results, "draw");
  redrawn.addTo(results, "redraw");
  results.add("redrawn", tokens);
  return results;
}

Results byCpu(const Case& c, const Given& given) {
  CpuDevice device(1);
  return resultsOf(c, given, device.chunkTiles(), [&](const auto& op) { device.run(op); });
}

Results byCuda(const Case& c, const Given& given) {
  return resultsOf(c, given, kChunkTiles, [](const auto& op) { expect(launch(op, nullptr), op.kName); });
}

// 2^((z − max)/τ) of the tokens at or above the threshold.
std::vector<double> weightsOf(const std::vector<float>& row, double temperature, float threshold) {
  const float max = *std::max_element(row.begin(), row.end());
  std::vector<double> weights(row.size());
  for (std::size_t c = 0; c < row.size(); ++c) {
    weights[c] =
        row[c] < threshold ? 0 : std::exp((static_cast<double>(row[c]) - static_cast<double>(max)) / temperature);
  }
  return weights;
}

// Whether `u` is so near to all boundaries between the weights a < b that it may pick either.
bool mayBeEither(const std::vector<double>& weights, std::size_t a, std::size_t b, double u) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const auto upTo = [&](std::size_t n) {
    return std::accumulate(weights.begin(), weights.begin() + static_cast<int64_t>(n), 0.0) / total;
  };
  return std::fabs(upTo(a + 1) - u) < kBoundary && std::fabs(upTo(b) - u) < kBoundary;
}

bool mayBeEither(const std::vector<double>& weights, int32_t one, int32_t other, const kernels::Uniforms& uniforms) {
  const auto a = static_cast<std::size_t>(std::min(one, other)), b = static_cast<std::size_t>(std::max(one, other));
  const std::size_t width = weights.size();
  if (a / kernels::kTile == b / kernels::kTile) {
    const std::size_t begin = a / kernels::kTile * kernels::kTile;
    const std::vector<double> tile(weights.begin() + static_cast<int64_t>(begin),
                                   weights.begin() + static_cast<int64_t>(std::min(begin + kernels::kTile, width)));
    return mayBeEither(tile, a - begin, b - begin, uniforms.uInside);
  }
  std::vector<double> tiles((width + kernels::kTile - 1) / kernels::kTile);
  for (std::size_t c = 0; c < width; ++c) tiles[c / kernels::kTile] += weights[c];
  return mayBeEither(tiles, a / kernels::kTile, b / kernels::kTile, uniforms.u);
}

// What top-k and then top-p keep, and how far top-p is from deciding otherwise, as a share of the mass.
struct Kept {
  float lowest;
  double clearance;
};
Kept keptOf(const std::vector<float>& row, const Case& c) {
  std::vector<float> sorted = row;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const int k = c.truncation.topK == 0 ? c.shape.vocab : std::min(c.truncation.topK, c.shape.vocab);
  const float ofTopK =
      k == c.shape.vocab ? -std::numeric_limits<float>::infinity() : sorted[static_cast<std::size_t>(k - 1)];
  if (c.truncation.topP == 1 || c.temperature == 0) return {ofTopK, 1};
  const std::vector<double> weights = weightsOf(sorted, c.temperature, ofTopK);
  const double whole = std::accumulate(weights.begin(), weights.end(), 0.0);
  double reached = 0, clearance = 1;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    reached += weights[i] / whole;
    const bool isLastOfItsKind = i + 1 == sorted.size() || sorted[i + 1] != sorted[i];
    if (!isLastOfItsKind) continue;
    clearance = std::min(clearance, std::fabs(reached - c.truncation.topP));
    if (reached >= c.truncation.topP) return {sorted[i], clearance};
  }
  return {ofTopK, 0};
}

struct Outcome {
  Outcome(const Results& from, const std::string& which)
      : tokens(from.get<int32_t>(which + " tokens")),
        logModel(from.get<double>(which + " log p")),
        logProposal(from.get<double>(which + " log τ")) {}
  std::vector<int32_t> tokens;
  std::vector<double> logModel, logProposal;
};

struct Tally {
  int draws = 0, atBoundaries = 0;
};

// One place of both devices, drawn from `row`.
void compare(const Case& c, const Given& given, const Outcome& ours, const Outcome& twin, std::size_t at,
             const std::vector<float>& row, uint32_t guess, const std::string& of, Tally& tally) {
  const std::string here = of + format(", place %zu", at);
  ++tally.draws;
  if (ours.tokens[at] == twin.tokens[at]) {
    const std::vector<double> logs = {ours.logModel[at], ours.logProposal[at]};
    expectClose(logs, std::vector{twin.logModel[at], twin.logProposal[at]}, 1e-6, 1e-5, here + ": log p, log τ");
    return;
  }
  const Kept kept = keptOf(row, c);
  const std::size_t p = at / static_cast<std::size_t>(c.layout.length),
                    n = at % static_cast<std::size_t>(c.layout.length);
  const auto perImage = static_cast<std::size_t>(c.layout.perImage);
  const kernels::Uniforms uniforms =
      kernels::uniforms(given.seeds[p / perImage], c.step, static_cast<uint32_t>(p % perImage),
                        static_cast<uint32_t>(n), c.purpose, guess);
  const bool areTokens = ours.tokens[at] >= 0 && ours.tokens[at] < c.shape.vocab && twin.tokens[at] >= 0;
  const bool isNear = areTokens && c.temperature != 0 &&
                      (kept.clearance < kBoundary || mayBeEither(weightsOf(row, c.temperature, kept.lowest),
                                                                 ours.tokens[at], twin.tokens[at], uniforms));
  expect(isNear, here + format(": token %d, not %d, and no boundary is near", ours.tokens[at], twin.tokens[at]));
  ++tally.atBoundaries;
}

void check(const Case& c, int orders, Tally& tally) {
  const Given given(c);
  const Results ours = settled(c.name(), orders, [&] { return byCuda(c, given); }), twin = byCpu(c, given);
  expectEqual(ours.get<uint8_t>("memory"), twin.get<uint8_t>("memory"), c.name() + ": suppressed logits");
  std::vector<float> values = given.rows.values;  // after K0
  const auto length = static_cast<std::size_t>(c.layout.length);
  for (std::size_t r = 0; r < c.shape.rows(); ++r) {
    if (given.suppressedAt[r % length] == 0) continue;
    for (const int32_t id : given.suppressed) {
      values[r * c.shape.width() + static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
    }
  }
  const auto rowOfPlace = [&](std::size_t at) {
    const std::size_t r = static_cast<std::size_t>(given.stateOf[at / length]) * length + at % length;
    const float* const row = values.data() + r * c.shape.width();
    return std::vector<float>(row, row + c.shape.width());
  };

  const std::vector<float> thresholds = ours.get<float>("threshold"), theirs = twin.get<float>("threshold");
  for (std::size_t r = 0; r < c.shape.rows(); ++r) {
    const float* const row = values.data() + r * c.shape.width();
    expect(thresholds[r] == theirs[r] || keptOf({row, row + c.shape.width()}, c).clearance < kBoundary,
           c.name() + format(": threshold of row %zu is %.9g, not %.9g", r, thresholds[r], theirs[r]));
  }
  const Outcome drawn(ours, "draw"), drawnThere(twin, "draw");
  for (std::size_t at = 0; at < c.places(); ++at) {
    if (given.wanted[at] == 0) {
      expect(drawn.tokens[at] == -7 && drawn.logModel[at] == -7, c.name() + ": a place not wanted was written");
    } else {
      compare(c, given, drawn, drawnThere, at, rowOfPlace(at), c.guess, c.name() + ": draw", tally);
    }
  }
  const Outcome again(ours, "redraw"), againThere(twin, "redraw");
  const std::vector<int32_t> tokens = ours.get<int32_t>("redrawn"), tokensThere = twin.get<int32_t>("redrawn");
  for (std::size_t i = 0; i < given.redraws.size(); ++i) {
    const auto& [p, n, excluded] = given.redraws[i];
    const std::size_t at = static_cast<std::size_t>(p) * length + static_cast<std::size_t>(n);
    expect((tokens[i] < 0) == (tokensThere[i] < 0), c.name() + ": whether something is left");
    expect(again.tokens[at] == (tokens[i] < 0 ? -7 : tokens[i]), c.name() + ": the token that was redrawn");
    std::vector<float> row = rowOfPlace(at);
    for (const int32_t id : excluded) row[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
    const auto guess = (c.guess << 16) + static_cast<uint32_t>(excluded.size());
    if (tokens[i] >= 0) compare(c, given, again, againThere, at, row, guess, c.name() + ": redraw", tally);
  }
  for (const kernels::Order order : kScored) {
    const std::string name = format("scores %d", static_cast<int>(order));
    expectClose(ours.get<double>(name), twin.get<double>(name), 1e-5, 1e-5, c.name() + ": " + name);
  }
}

}  // namespace

void checkDraws(const Extent& extent) {
  Tally tally;
  int cases = 0, combinations = 0;
  const auto checkShape = [&](int vocab, int positions, LogitsType type, bool isAligned, double temperature,
                              kernels::Truncation truncation) {
    const int states = 1 + cases % 2;
    check({{states, positions, vocab, type, isAligned},
           {2, 3, positions},
           temperature,
           truncation,
           static_cast<uint32_t>(cases),
           static_cast<uint32_t>(cases % 3),
           cases % 2 == 0 ? kernels::Purpose::guess : kernels::Purpose::proposal},
          vocab > 10000 ? 2 : 3, tally);
    ++cases;
  };
  constexpr kernels::Truncation kTruncations[] = {{0, 1}, {5, 1}, {0, 0.9}, {40, 0.5}};
  for (const int vocab : {3, 31, 1025, 2048}) {
    for (const LogitsType type : {LogitsType::float32, LogitsType::float16, LogitsType::bfloat16}) {
      for (const double temperature : {0.0, 0.06, 0.6, 1.0, 1.6}) {
        for (const kernels::Truncation& truncation : kTruncations) {
          // Steps that share no factor with the counts above, so that each value of one meets each of the others.
          if (combinations++ % (extent.isWhole ? 7 : 29) != 0) continue;
          checkShape(vocab, 7, type, cases % 2 == 0, temperature, truncation);
        }
      }
    }
  }
  if (extent.isWhole) {
    checkShape(50257, 24, LogitsType::float32, false, 1, {0, 1});
    checkShape(50257, 24, LogitsType::float16, false, 0.6, {50, 0.9});
    checkShape(126464, 4, LogitsType::bfloat16, true, 1.6, {0, 0.95});
  }
  std::printf("draws: %d as on the CPU, %d more decided otherwise at a boundary\n", tally.draws - tally.atBoundaries,
              tally.atBoundaries);
  expect(tally.atBoundaries * 100 <= tally.draws, "more than 1 in 100 draws was decided otherwise");
}

}  // namespace fkinv::cuda::check
