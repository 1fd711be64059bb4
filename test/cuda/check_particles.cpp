// What works on particles, against the CPU twins: exactly, or to the last bits where sums have another order.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <type_traits>

#include "../../cpp/device/cpu_device.h"
#include "../../cuda/launchers.h"
#include "check.h"

namespace fkinv::cuda::check {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Random {
  explicit Random(uint64_t seed) : source(seed) {}
  int below(int n) { return static_cast<int>(source() % static_cast<uint64_t>(n)); }
  template <class T, class F>
  std::vector<T> many(std::size_t n, F f) {
    std::vector<T> all(n);
    for (T& one : all) one = static_cast<T>(f());
    return all;
  }
  std::vector<uint8_t> flags(std::size_t n, int of, int in) {
    return many<uint8_t>(n, [&] { return below(in) < of; });
  }
  template <class T>
  std::vector<T> normals(std::size_t n, double scale = 1) {
    return many<T>(n, [&] { return scale * normal(source); });
  }
  std::mt19937_64 source;
  std::normal_distribution<double> normal;
};

// The particles of a check.
struct Of {
  Layout layout;
  std::size_t images() const { return static_cast<std::size_t>(layout.images); }
  std::size_t count() const { return static_cast<std::size_t>(layout.particles()); }
  std::size_t places() const { return count() * static_cast<std::size_t>(layout.length); }
  std::string name() const { return format("%d × %d × %d: ", layout.images, layout.perImage, layout.length); }
};

// Has both devices run the op that with(where its result goes, run) gives to run(op), each in memory of its own, and
// compares what they leave there, which began as `before`.
template <class T, class With>
void compare(const Of& of, const std::string& name, const std::vector<T>& before, double tolerance, With with) {
  const Results found = settled(of.name() + name, 4, [&] {
    const Array<T> result(before);
    with(result.data(), [&](const auto& op) { expect(launch(op, nullptr), of.name() + name); });
    Results results;
    results.add(name, result);
    return results;
  });
  CpuDevice cpu(1);
  const Array<T> expected(before);
  with(expected.data(), [&](const auto& op) { cpu.run(op); });
  expectClose(found.get<T>(name), expected.host(), tolerance, 0, of.name() + name);
}

void checkOpening(const Of& of, Random& random) {
  const int length = of.layout.length;
  const Array<int32_t> tokens(random.many<int32_t>(of.places(), [&] { return random.below(3); }));
  const Array<uint8_t> live(random.flags(of.images(), 2, 3)), wanted(random.flags(of.places(), 2, 3));
  const Array<uint64_t> seeds(random.many<uint64_t>(of.images(), [&] { return random.source(); }));
  const std::vector<uint8_t> unset(of.places(), 9);
  for (const auto& [from, to] : {std::pair(0, length), std::pair(length / 3, length / 2)}) {
    compare(of, "masked", unset, 0, [&, first = from, last = to](uint8_t* marks, auto run) {
      run(ops::Masked{of.layout, live.data(), 1, tokens.data(), first, last, marks});
    });
  }
  const Array<int32_t> stateOf(random.many<int32_t>(of.count(), [&] { return random.below(2); }));
  const Array<kernels::RowFault> faults(random.many<kernels::RowFault>(
      2 * static_cast<std::size_t>(length), [&] { return static_cast<kernels::RowFault>(random.below(3)); }));
  compare(of, "exclude: wanted", wanted.host(), 0, [&](uint8_t* to, auto run) {
    const Array<int32_t> changed(tokens.host());
    run(ops::Exclude{of.layout, stateOf.data(), faults.data(), to, changed.data()});
  });
  compare(of, "exclude: tokens", tokens.host(), 0, [&](int32_t* to, auto run) {
    const Array<uint8_t> changed(wanted.host());
    run(ops::Exclude{of.layout, stateOf.data(), faults.data(), changed.data(), to});
  });
  for (const int step : {0, 3, 7}) {
    compare(of, "open", unset, 0, [&](uint8_t* to, auto run) {
      run(ops::Open{of.layout, seeds.data(), 5, {0, length, step, 8}, wanted.data(), to});
    });
  }
  // Few distinct scores: ties.
  const Array<double> scores(
      random.many<double>(of.places(), [&] { return -random.below(4) - (random.below(9) == 0 ? kInfinity : 0); }));
  for (const int count : {0, 1, length / 2, length, length + 5}) {
    compare(of, format("choose %d", count), unset, 0,
            [&](uint8_t* to, auto run) { run(ops::Choose{of.layout, scores.data(), wanted.data(), count, to}); });
  }
  const Array<int32_t> drawn(random.many<int32_t>(of.places(), [&] { return random.below(1000); }));
  compare(of, "place", tokens.host(), 0,
          [&](int32_t* to, auto run) { run(ops::Place{of.layout, wanted.data(), drawn.data(), to}); });
}

void checkAccept(const Of& of, Random& random) {
  const Array<uint8_t> opened(random.flags(of.places(), 1, 3)), drawn(random.flags(of.places(), 2, 3));
  std::vector<double> model = random.normals<double>(of.places()), proposal = random.normals<double>(of.places());
  for (std::size_t at = 0; at < of.places(); ++at) {  // what was not drawn holds nothing
    if (!opened.data()[at] && !drawn.data()[at]) model[at] = kNan;
    if (!drawn.data()[at]) proposal[at] = kNan;
  }
  const Array<double> logModel(model), logProposal(proposal);
  const std::vector<double> before = random.normals<double>(2 * of.count());  // log p, log-weights
  compare(of, "accept", before, 1e-12, [&](double* to, auto run) {
    run(ops::Accept{of.layout, opened.data(), drawn.data(), logModel.data(), logProposal.data(), to, to + of.count()});
  });
}

void checkCoupling(const Of& of, Random& random) {
  const int states = 3;
  const std::size_t square = of.places() / of.count() * (of.places() / of.count());
  const Array<int32_t> tokens(random.many<int32_t>(of.places(), [&] { return random.below(60); }));
  for (const std::vector<int32_t>& list : {std::vector<int32_t>{}, {4}, {1, 7, 59}}) {
    const Array<int32_t> stops(list);
    for (const bool all : {false, true}) {
      compare(of, "count", std::vector<uint8_t>(of.places(), 9), 0, [&](uint8_t* to, auto run) {
        run(ops::Count{of.layout, tokens.data(), {stops.data(), stops.size()}, all, to});
      });
    }
  }
  const Array<float> gram(random.many<float>(states * square, [&] { return std::fabs(random.normal(random.source)); }));
  for (std::size_t s = 0; s < states * square; s += square) {  // symmetric
    const auto N = static_cast<std::size_t>(of.layout.length);
    for (std::size_t i = 0; i < N; ++i) {
      for (std::size_t j = 0; j < i; ++j) gram.data()[s + i * N + j] = gram.data()[s + j * N + i];
    }
  }
  const Array<int32_t> stateOf(random.many<int32_t>(of.count(), [&] { return random.below(states); }));
  for (const int in : {1, 2, of.layout.length}) {  // counted: all, half, about one
    const Array<uint8_t> counted(random.flags(of.places(), 1, in));
    compare(of, "coupling", std::vector<double>(of.count(), 9), 1e-12, [&](double* to, auto run) {
      run(ops::Coupling{of.layout, gram.data(), stateOf.data(), counted.data(), to});
    });
  }
}

void checkCosine(const Of& of, Random& random, int size) {
  const auto width = static_cast<std::size_t>(size);
  std::vector<float> embeddings = random.normals<float>(5 * width, 3);
  std::fill_n(embeddings.begin(), width, 0.0f);  // no direction
  const Array<float> texts(embeddings), images(random.normals<float>(of.images() * width));
  const Array<int32_t> textOf(random.many<int32_t>(of.count(), [&] { return random.below(5); }));
  const auto checkOf = [&](const char* what, ops::Embeddings some) {
    compare(of, format("cosine of %d, %s", size, what), std::vector<double>(of.count(), 9), 1e-11,
            [&](double* to, auto run) { run(ops::Cosine{of.layout, some, textOf.data(), images.data(), size, to}); });
  };
  checkOf("float32", {texts.data(), kernels::LogitsType::float32});
  const Array<uint16_t> halves(random.many<uint16_t>(5 * width, [&] { return random.below(0x7c00); }));  // finite ones
  checkOf("float16", {halves.data(), kernels::LogitsType::float16});
  for (const int first : {0, 1, 4}) {  // with the one of no direction, several, one
    std::vector<const float*> list;
    for (int i = first; i < 5; ++i) list.push_back(texts.data() + static_cast<std::size_t>(i) * width);
    const Array<const float*> pointers(list);
    const int count = static_cast<int>(list.size());
    compare(of, format("average of %d of %d", count, size), std::vector<float>(width, 9), 1e-6,
            [&](float* to, auto run) { run(ops::Average{pointers.data(), count, size, to}); });
  }
}

void checkWeights(const Of& of, Random& random) {
  for (const int guesses : {1, 3}) {
    const std::size_t n = of.count() * static_cast<std::size_t>(guesses);
    const Array<double> clip(random.normals<double>(n)), edit(random.normals<double>(n));
    const Array<double> previous(random.normals<double>(of.count(), 10));
    const WeightedRewards rewards = {2, {40, 6}, {clip.data(), edit.data()}};
    compare(of, format("weigh %d", guesses), random.normals<double>(2 * of.count()), 1e-12, [&](double* to, auto run) {
      run(ops::Weigh{of.layout, guesses, rewards, previous.data(), to, to + of.count()});
    });
  }
  std::vector<double> weights = random.normals<double>(of.count(), 3);
  const auto perImage = static_cast<std::size_t>(of.layout.perImage);
  weights[0] = -kInfinity;
  for (const double bad : {0.0, -kInfinity, kInfinity, kNan}) {
    if (of.images() > 1) weights[perImage] = bad;
    if (of.images() > 2) std::fill_n(weights.begin() + static_cast<int64_t>(2 * perImage), perImage, bad);
    const Array<double> logWeights(weights);
    compare(of, "effectiveSampleSize", std::vector<double>(of.images(), 9), 1e-12,
            [&](double* to, auto run) { run(ops::EffectiveSampleSize{of.layout, logWeights.data(), to}); });
  }
}

void checkResampling(const Of& of, Random& random) {
  const Array<uint8_t> live(random.flags(of.images(), 3, 4));
  const Array<uint64_t> seeds(random.many<uint64_t>(of.images(), [&] { return random.source(); }));
  for (const double scale : {0.0, 1.0, 30.0}) {
    const std::vector<double> weights = random.normals<double>(of.count(), scale);
    for (const kernels::Scheme scheme : {kernels::Scheme::multinomial, kernels::Scheme::stratified,
                                         kernels::Scheme::residual, kernels::Scheme::systematic}) {
      const std::string name = format("resample %d, weights of deviation %g", static_cast<int>(scheme), scale);
      // The threshold divides the images, one of them of no use.
      std::vector<double> sizes =
          random.many<double>(of.images(), [&] { return of.layout.perImage * random.below(3) / 2.0; });
      sizes.back() = of.images() > 1 ? kNan : sizes.back();
      const Array<double> ess(sizes);
      const kernels::Due due = {live.data(), ess.data(), scale == 0 ? 1 : 0.7};
      const auto resample = [&](auto* to, auto run) {
        const Array<uint8_t> resampled(of.images());
        const Array<double> logWeights(weights);
        const Array<int32_t> ancestors(of.count());
        ops::Resample op = {of.layout, scheme,           seeds.data(),      4,
                            due,       resampled.data(), logWeights.data(), ancestors.data()};
        using To = std::remove_pointer_t<decltype(to)>;
        if constexpr (std::is_same_v<To, uint8_t>) op.resampled = to;
        if constexpr (std::is_same_v<To, double>) op.logWeights = to;
        if constexpr (std::is_same_v<To, int32_t>) op.ancestors = to;
        run(op);
      };
      compare(of, name, std::vector<int32_t>(of.count(), 9), 0, resample);
      compare(of, name + ": log-weights", weights, 0, resample);
      compare(of, name + ": which images", std::vector<uint8_t>(of.images(), 9), 0, resample);
    }
  }
  const Array<int32_t> ancestors(random.many<int32_t>(of.count(), [&] { return random.below(of.layout.perImage); }));
  for (const std::size_t rowBytes : {std::size_t{1}, std::size_t{8}, std::size_t{308}, std::size_t{4096}}) {
    const Array<uint8_t> from(random.many<uint8_t>(of.count() * rowBytes, [&] { return random.below(256); }));
    compare(of, format("gather of %zu bytes", rowBytes), std::vector<uint8_t>(of.count() * rowBytes, 9), 0,
            [&](uint8_t* to, auto run) { run(ops::Gather{of.layout, ancestors.data(), from.data(), to, rowBytes}); });
  }
}

}  // namespace

void checkParticles(const Extent& extent) {
  Random random(3);
  for (const Layout& layout :
       {Layout{1, 1, 1}, Layout{3, 16, 24}, Layout{2, 5, 77}, Layout{3, 9, 128}, Layout{1, 300, 2}}) {
    if (!extent.isWhole && layout.particles() > 20) continue;
    const Of of{layout};
    checkOpening(of, random);
    checkAccept(of, random);
    checkCoupling(of, random);
    for (const int size : {1, 3, 512, 768}) checkCosine(of, random, size);
    checkWeights(of, random);
    checkResampling(of, random);
  }
}

void checkGoldenPotentials(Numbers& numbers) {
  const std::size_t cases = numbers.nextCount();
  for (std::size_t i = 0; i < cases; ++i) {
    const std::size_t K = numbers.nextCount(), steps = numbers.nextCount();
    const double lambdaClip = numbers.next(), lambdaEdit = numbers.next();
    const Layout layout = {1, static_cast<int>(K), 1};
    const Array<double> carried(std::vector<double>(K, 0)), carriedTotal(carried.host()), resetTotal(carried.host());
    for (std::size_t step = 0; step < steps; ++step) {
      const std::string of = format("golden potentials %zu, step %zu", i, step);
      const Array<double> clip(numbers.next(K)), edit(numbers.next(K));
      const std::vector<double> logWeights = numbers.next(K), logPotential = numbers.next(K), ess = numbers.next(1);
      const std::vector<double> ancestors = numbers.next(K);  // of the particles of the next step
      const WeightedRewards rewards = {2, {lambdaClip, lambdaEdit}, {clip.data(), edit.data()}};
      const auto weighed = [&](const Array<double>& totals, const Array<double>& weights) {
        const Array<double> total(K);
        const ops::Weigh op = {layout, 1, rewards, totals.data(), total.data(), weights.data()};
        expect(launch(op, nullptr), of);
        return total.host();
      };
      const Array<double> total(weighed(carriedTotal, carried));
      expectClose(carried.host(), logWeights, 1e-12, 1e-12, of + ": carried log-weights");
      const Array<double> found(1);
      expect(launch(ops::EffectiveSampleSize{layout, carried.data(), found.data()}, nullptr), of);
      expectClose(found.host(), ess, 1e-9, 0, of + ": ESS");
      std::copy_n(total.data(), K, carriedTotal.data());

      const Array<double> reset(std::vector<double>(K, 0));
      const Array<double> resetNext(weighed(resetTotal, reset));
      expectClose(reset.host(), logPotential, 1e-12, 1e-12, of + ": log-weights after resampling");
      const Array<int32_t> slots(std::vector<int32_t>(ancestors.begin(), ancestors.end()));
      const ops::Gather op = {layout, slots.data(), resetNext.data(), resetTotal.data(), sizeof(double)};
      expect(launch(op, nullptr), of);
    }
  }
}

void checkGoldenResampling(Numbers& numbers) {
  const std::size_t cases = numbers.nextCount();
  for (std::size_t i = 0; i < cases; ++i) {
    const std::size_t K = numbers.nextCount();
    const Array<double> logWeights(numbers.next(K)), ess(1);
    const Layout layout = {1, static_cast<int>(K), 1};
    expect(launch(ops::EffectiveSampleSize{layout, logWeights.data(), ess.data()}, nullptr), "ESS");
    expectClose(ess.host(), numbers.next(1), 1e-9, 0, format("golden resampling %zu: ESS", i));
  }
}

}  // namespace fkinv::cuda::check
