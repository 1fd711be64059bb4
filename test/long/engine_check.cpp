// Drives the engine without JavaScript, for sanitizers and valgrind (sanitizers.long.ts, valgrind.long.ts):
//   engine_check all libonnxruntime models
//   engine_check threads                     what needs no ONNX Runtime
//   engine_check models libonnxruntime models
#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "demo.h"
#include "device/cpu_device.h"
#include "engine/engine.h"
#include "error.h"
#include "kernels/average.h"
#include "kernels/cosine.h"
#include "kernels/coupling.h"
#include "kernels/draw.h"
#include "kernels/host_tables.h"
#include "kernels/resample.h"
#include "kernels/widen.h"
#include "ort/library.h"
#include "particles/memory_plan.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
using NoLeaks = __lsan::ScopedDisabler;
#else
struct NoLeaks {
  ~NoLeaks() {}  // not trivial, so that it is no unused variable
};
#endif

// How many more threads the system gives; below zero, as many as it has.
static std::atomic<int> threadsLeft{-1};

// Visible, or the C++ library would not find it.
extern "C" __attribute__((visibility("default"))) int pthread_create(pthread_t* thread,
                                                                     const pthread_attr_t* attributes,
                                                                     void* (*start)(void*), void* data) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (threadsLeft == 0) return EAGAIN;
  if (threadsLeft > 0) --threadsLeft;
  return create(thread, attributes, start, data);
}

namespace fkinv {
namespace {

using Random = std::mt19937_64;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class T>
T pickOne(Random& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

enum class Content { ordinary, huge, holes, oneLeft, nothing, notFinite };

float logit(Random& random, Content content) {
  const float z = std::normal_distribution<float>(0, 4)(random);
  switch (content) {
    case Content::huge:
      return z * 1e37f;
    case Content::holes:
      return random() % 3 ? -kInfinity : z;
    case Content::nothing:
    case Content::oneLeft:
      return -kInfinity;
    case Content::notFinite:
      return random() % 50 ? z : pickOne(random, {kInfinity, std::numeric_limits<float>::quiet_NaN(), z});
    default:
      return z;
  }
}

// The nearest below of 16 bits: the upper half of the float, or by search.
uint16_t narrow(float z, kernels::LogitsType type) {
  if (type == kernels::LogitsType::bfloat16) {
    return std::isnan(z) ? 0x7fc0 : static_cast<uint16_t>(std::bit_cast<uint32_t>(z) >> 16);
  }
  if (std::isnan(z)) return 0x7e00;
  uint16_t low = 0, high = 0x7c00;  // magnitudes are ordered as their bits are
  while (low < high) {
    const auto middle = static_cast<uint16_t>((low + high + 1) / 2);
    if (kernels::widenFloat16(middle) <= std::fabs(z))
      low = middle;
    else
      high = static_cast<uint16_t>(middle - 1);
  }
  return static_cast<uint16_t>(low | (std::signbit(z) ? 0x8000 : 0));
}

// Logits in memory of exactly their size, as the type says.
struct Values {
  Values(const std::vector<float>& values, kernels::LogitsType type) : floats(values) {
    if (type == kernels::LogitsType::float32) return;
    for (float z : values) bits.push_back(narrow(z, type));
  }
  void* data() { return bits.empty() ? static_cast<void*>(floats.data()) : bits.data(); }
  std::vector<float> floats;
  std::vector<uint16_t> bits;
};

// Random logits of awkward shapes through every kernel that reads them.
void checkLogits(Random& random, CpuDevice& device, int rounds) {
  int drawn = 0, faults = 0;
  for (int round = 0; round < rounds; ++round) {
    const int states = pickOne(random, {1, 2, 5}), positions = pickOne(random, {1, 2, 7, 12});
    const int vocab = pickOne(random, {1, 2, 15, 17, 255, 257, 1023, 1024, 1025, 2047, 2305});
    const double temperature = pickOne(random, {0.0, 0.06, 0.7, 1.0, 10.0});
    const int stride = vocab + static_cast<int>(random() % 3);
    const auto rows = static_cast<std::size_t>(states * positions);
    std::vector<float> data(rows * static_cast<std::size_t>(stride) - static_cast<std::size_t>(stride - vocab));
    std::vector<int64_t> rowOf(rows);
    std::iota(rowOf.begin(), rowOf.end(), 0);
    std::shuffle(rowOf.begin(), rowOf.end(), random);
    const auto content = static_cast<Content>(random() % 6);
    for (float& z : data) z = logit(random, content);
    for (std::size_t r = 0; content == Content::oneLeft && r < rows; ++r) {
      data[r * static_cast<std::size_t>(stride) + random() % static_cast<uint64_t>(vocab)] = 1;
    }
    const auto type =
        pickOne(random, {kernels::LogitsType::float32, kernels::LogitsType::float16, kernels::LogitsType::bfloat16});
    Values values(data, type);
    const Logits z = {values.data(), type, stride, rowOf.data(), states, positions, vocab};
    const std::vector<int32_t> suppressed = {vocab - 1}, stops = {0};
    std::vector<uint8_t> start(static_cast<std::size_t>(positions));
    std::fill_n(start.begin(), positions / 2, uint8_t{1});
    if (vocab > 2) {
      device.run(ops::Suppress{z, suppressed, {}});
      device.run(ops::Suppress{z, stops, start});
    }
    // Each array has exactly the size that a kernel may use: one element past it is an error that a sanitizer sees.
    const kernels::HostTables tables({states, positions, vocab, device.chunkTiles()});
    const auto& [tiles, stats] = tables.of();
    device.run(ops::Pass{z, temperature, tiles});
    device.run(ops::Merge{z, temperature, tiles, stats});
    const kernels::Truncation truncation = {pickOne(random, {0, 1, 3, 5000}), pickOne(random, {1.0, 0.5, 1e-9})};
    if (temperature != 0) device.run(ops::Truncate{z, temperature, truncation, tiles, stats});

    const Layout layout = {1, states, positions};
    std::vector<int32_t> stateOf(static_cast<std::size_t>(states)), tokens(rows, -1);
    std::iota(stateOf.begin(), stateOf.end(), 0);
    std::vector<uint8_t> wanted(rows), counted(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      wanted[r] = stats.fault[r] == kernels::RowFault::none;
      faults += stats.fault[r] != kernels::RowFault::none;
    }
    const uint64_t seed = random();
    std::vector<double> logProb(stateOf.size()), logWeights(stateOf.size()), edit(stateOf.size());
    std::vector<double> logModel(rows), logProposal(rows), scores(rows);
    std::vector<uint8_t> opened(rows);
    const Draws draws = {stateOf.data(),  wanted.data(),     &seed, 3, kernels::Purpose::proposal, 0, tokens.data(),
                         logModel.data(), logProposal.data()};
    device.run(ops::Draw{z, temperature, tiles, stats, layout, draws});
    std::vector<Redraw> redraws;
    for (std::size_t r = 0; r < rows; ++r) {
      if (!wanted[r]) continue;
      ++drawn;
      expect(tokens[r] >= 0 && tokens[r] < vocab, "a token outside the vocabulary was drawn");
      expect(kernels::widen(z, static_cast<int64_t>(r), tokens[r]) > -kInfinity, "a suppressed token was drawn");
      const auto length = static_cast<std::size_t>(positions);
      redraws.push_back({static_cast<int>(r / length), static_cast<int>(r % length), {tokens[r], tokens[r] / 2}});
    }
    const kernels::RedrawLists lists(redraws);
    std::vector<int32_t> again(redraws.size());
    device.run(ops::Redraw{z, temperature, truncation, layout, draws, static_cast<int>(redraws.size()),
                           lists.places.data(), lists.excluded.data(), lists.firstOf.data(), again.data()});
    for (std::size_t i = 0; i < again.size(); ++i) {
      expect(again[i] >= -1 && again[i] < vocab && again[i] != redraws[i].excluded[0], "an excluded token was drawn");
    }
    for (const auto order : {kernels::Order::confidence, kernels::Order::entropy, kernels::Order::margin}) {
      device.run(
          ops::Score{order, z, tiles, stats, layout, stateOf.data(), wanted.data(), logModel.data(), scores.data()});
      device.run(ops::Choose{layout, scores.data(), wanted.data(), positions / 2 + 1, opened.data()});
    }
    device.run(ops::Accept{layout, opened.data(), wanted.data(), logModel.data(), logProposal.data(), logProb.data(),
                           logWeights.data()});
    for (double u : {0.0, std::nextafter(1.0, 0.0)}) {
      for (std::size_t r = 0; r < rows; ++r) {
        if (!wanted[r]) continue;
        const auto [token, ofModel, ofProposal] = kernels::drawRow(kernels::bestInstructionSet(), z, temperature, tiles,
                                                                   stats, static_cast<int64_t>(r), u, u);
        expect(token >= 0 && token < vocab && ofModel <= 1e-3 && ofProposal <= 1e-3, "a draw at an end of [0, 1)");
      }
    }
    device.run(ops::Count{layout, tokens.data(), stops, round % 2 == 0, counted.data()});
    device.run(ops::Coupling{layout, stats.gram, stateOf.data(), counted.data(), edit.data()});
  }
  std::printf("logits: %d rounds, %d draws, %d rows at fault\n", rounds, drawn, faults);
  expect(drawn > 0 && faults > 0, "nothing was drawn, or no row was at fault");
}

void checkWeights(Random& random, CpuDevice& device, int rounds) {
  int resampled = 0;
  std::ptrdiff_t left = 0;
  for (int round = 0; round < rounds; ++round) {
    const Layout layout = {pickOne(random, {1, 3}), pickOne(random, {1, 2, 8, 33}), 5};
    const auto particles = static_cast<std::size_t>(layout.particles());
    std::vector<double> logWeights(particles), ess(static_cast<std::size_t>(layout.images));
    for (double& w : logWeights) {
      w = std::normal_distribution<double>(0, pickOne(random, {1e-3, 10.0, 1e300}))(random);
      if (random() % 4 == 0) w = -std::numeric_limits<double>::infinity();
      if (random() % 200 == 0) w = std::numeric_limits<double>::quiet_NaN();
    }
    device.run(ops::EffectiveSampleSize{layout, logWeights.data(), ess.data()});
    // An image whose weights are all −inf or have a NaN is left out, and the others go on.
    std::vector<uint8_t> live;
    const std::vector<uint8_t> everyone(ess.size(), 1);
    for (double e : ess) live.push_back(std::isfinite(e));
    left += std::count(live.begin(), live.end(), 0);
    const std::vector<uint64_t> seeds(ess.size(), random());
    for (const auto scheme : {kernels::Scheme::multinomial, kernels::Scheme::stratified, kernels::Scheme::residual,
                              kernels::Scheme::systematic}) {
      std::vector<int32_t> ancestors(particles), from(particles), to(particles);
      std::vector<double> weights = logWeights;
      std::vector<uint8_t> isResampled(live.size());
      device.run(ops::Resample{layout,
                               scheme,
                               seeds.data(),
                               static_cast<uint32_t>(round),
                               {everyone.data(), ess.data(), 1},
                               isResampled.data(),
                               weights.data(),
                               ancestors.data()});
      expect(isResampled == live, "which images are resampled");
      std::iota(from.begin(), from.end(), 0);
      device.run(ops::Gather{layout, ancestors.data(), from.data(), to.data(), sizeof(int32_t)});
      for (std::size_t p = 0; p < particles; ++p) {
        const std::size_t image = p / static_cast<std::size_t>(layout.perImage);
        expect(ancestors[p] >= 0 && ancestors[p] < layout.perImage, "an ancestor outside its image");
        if (!live[image]) {
          expect(to[p] == from[p], "an image that is left out was resampled");
          continue;
        }
        expect(logWeights[static_cast<std::size_t>(to[p])] > -INFINITY, "an ancestor of no weight");
        expect(weights[p] == 0, "log-weights are 0 after resampling");
      }
      ++resampled;
    }
  }
  std::printf("weights: %d resamplings, %td images left out\n", resampled, left);
  expect(resampled > 0 && left > 0, "nothing was resampled, or no image left out");
  const std::vector<float> zero(7), one(7, 1.0f);
  expect(std::isnan(kernels::cosine(zero.data(), one.data(), 7)), "the cosine of a zero vector");
  const std::vector<float> minusOne(7, -1.0f);
  std::vector<float> mean(7);
  kernels::average(std::vector<const float*>{one.data(), minusOne.data()}, 7, mean.data());
  expect(mean == zero, "the average of opposites");
}

void checkPool() {
  int thrown = 0;
  for (int threads = 1; threads <= 6; ++threads) {
    ThreadPool pool(threads);
    for (int round = 0; round < 300; ++round) {
      const int64_t count = round % 37;
      std::vector<int> done(static_cast<std::size_t>(count));
      try {
        pool.run(count, [&](int64_t i) {
          if (round % 3 == 0 && i % 5 == 4) throw std::runtime_error("on purpose");
          ++done[static_cast<std::size_t>(i)];
        });
        for (int times : done) expect(times == 1, "a piece ran twice, or never");
      } catch (const std::runtime_error&) {
        ++thrown;
      }
    }
  }
  std::printf("pool: %d runs threw, and the pool went on\n", thrown);
  expect(thrown > 0, "nothing threw");
}

// A machine that gives no more threads: an exception, no crash and no hang, whichever thread is the one too many.
void checkThreadLimit() {
  int refused = 0;
  for (int given = 0; given < 5; ++given) {
    threadsLeft = given;
    try {
      const Engine engine(std::make_shared<CpuDevice>(5));
    } catch (const std::system_error&) {
      ++refused;
    }
    threadsLeft = -1;
  }
  const Engine engine(std::make_shared<CpuDevice>(5));
  std::printf("threads: %d engines were refused theirs\n", refused);
  expect(refused == 5, "an engine started without its threads");
}

// Jobs from several threads, cancelled and closed at random moments: each is told its end exactly once.
void checkEngine(Random& random, int rounds) {
  std::atomic<int> done = 0, aborted = 0, disposed = 0, failed = 0;
  int submitted = 0;
  for (int round = 0; round < rounds; ++round) {
    auto engine = std::make_unique<Engine>(std::make_shared<CpuDevice>(1 + static_cast<int>(random() % 4)));
    std::vector<std::thread> callers;
    std::vector<uint64_t> seeds = {random(), random(), random()};
    for (uint64_t seed : seeds) {
      submitted += 12;
      callers.emplace_back([&, seed] {
        Random own(seed);
        for (int i = 0; i < 12; ++i) {
          const auto token = std::make_shared<CancelToken>();
          const uint64_t kind = own() % 4;
          const auto ends = std::make_shared<std::atomic<int>>(0);
          engine->submit(
              token,
              [token, kind, device = engine->device()] {
                // Until it is stopped, as a long run of a graph is; the first kinds end by themselves.
                std::atomic<bool> stopped = false;
                const CancelToken::Guard guard(*token, [&stopped] { stopped = true; });
                device->eachRow({"", 4, {}}, [&](int64_t) {
                  for (int spin = 0; spin < 50 && !stopped; ++spin) std::this_thread::yield();
                });
                if (kind == 1) throw std::bad_alloc();
                if (kind == 2) throw std::runtime_error("on purpose");
                token->check();
              },
              [&, ends](std::exception_ptr failure) {
                expect(++*ends == 1, "a job was told its end twice");
                if (!failure) {
                  ++done;
                  return;
                }
                try {
                  std::rethrow_exception(failure);
                } catch (const Error& error) {
                  const std::string_view code = error.code;
                  ++(code == "ABORTED" ? aborted : code == "DISPOSED" ? disposed : failed);
                } catch (const std::exception&) {
                  ++failed;
                }
              });
          if (own() % 3 == 0) token->cancel();
          if (own() % 300 == 0) engine->close();
        }
      });
    }
    if (random() % 2) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
      engine->close();
    }
    for (std::thread& caller : callers) caller.join();
    if (random() % 2) {  // lets the queue drain: the last job's end comes after all others
      std::promise<void> drained;
      engine->submit(std::make_shared<CancelToken>(), [] {}, [&](std::exception_ptr) { drained.set_value(); });
      drained.get_future().get();
    }
    engine.reset();
  }
  std::printf("engine: %d jobs, %d done, %d aborted, %d disposed, %d failed\n", submitted, done.load(), aborted.load(),
              disposed.load(), failed.load());
  expect(done + aborted + disposed + failed == submitted, "a job was never told its end");
  expect(done > 0 && aborted > 0 && disposed > 0 && failed > 0, "an end that never happened");
}

void checkKernelsOnThreads(Random& random) {
  CpuDevice alone(1), shared(4);
  for (CpuDevice* device : {&alone, &shared}) {
    checkLogits(random, *device, 120);
    checkWeights(random, *device, 200);
  }
}

// A device of so many bytes.
class SmallDevice final : public CpuDevice {
 public:
  explicit SmallDevice(std::size_t bytes) : CpuDevice(1), free_(bytes) {}
  void setFree(std::size_t bytes) { free_ = bytes; }
  std::optional<std::size_t> freeBytes() override { return free_; }
  void* allocate(std::size_t bytes) override {
    if (bytes > free_) throw Error("OUT_OF_MEMORY", "there is no room");
    void* memory = CpuDevice::allocate(bytes);
    free_ -= sizes_[memory] = bytes;
    return memory;
  }
  void release(void* memory) noexcept override {
    free_ += sizes_.extract(memory).mapped();
    CpuDevice::release(memory);
  }

 private:
  std::size_t free_;
  std::map<void*, std::size_t> sizes_;
};

// The plan is what is allocated, to the byte; where there is no room, the error names a maxBatch that there is room
// for.
void checkMemory(const std::string& models) {
  const auto device = std::make_shared<SmallDevice>(std::size_t{1} << 30);
  const Demo demo(models, device);
  const auto of = [](int images, int particles) {
    return ParticleOptions{.layout = {images, particles, 9},
                           .steps = 4,
                           .guesses = 2,
                           .maskId = 1,
                           .suppressed = {1, 5},
                           .restrictions = {{{0}, std::vector<uint8_t>(9)}},
                           .stops = {0},
                           .pinned = std::vector<int32_t>(9, -1),
                           .prefixes = std::vector<int32_t>(static_cast<std::size_t>(images) * 3),
                           .countAll = false,
                           .temperature = 1,
                           .truncation = {},
                           .order = kernels::Order::random,
                           .firstBlock = 9,
                           .blockLength = 9,
                           .scheme = kernels::Scheme::systematic,
                           .essThreshold = 1,
                           .rewards = {{"clip", 100}, {"edit", 20}},
                           .seeds = std::vector<uint64_t>(static_cast<std::size_t>(images))};
  };
  const auto shape = [&](int images, int particles) {
    return memoryShape(*device, demo.dllm, demo.text, 256, of(images, particles));
  };
  const auto total = [&](int images, int particles) { return planMemory(shape(images, particles)).total(); };
  const auto refusal = [&](int images, int particles, std::size_t free) -> std::string {
    device->setFree(free);
    try {
      const std::vector<Reference> references(static_cast<std::size_t>(images), {demo.images[0]});
      const auto made = makeParticles(device, demo.dllm, demo.text, references, 256, of(images, particles), {});
      expect(made->bytes() == total(images, particles), "the particles hold other than was planned");
      expect(*device->freeBytes() == free - made->bytes(), "the device gave other than was planned");
      return "";
    } catch (const Error& error) {
      expect(std::string_view(error.code) == "OUT_OF_MEMORY", "another error");
      expect(*device->freeBytes() == free, "a failed attempt kept memory");
      return error.what();
    }
  };
  int refused = 0;
  for (int images = 1; images <= 6; ++images) {
    for (int particles : {1, 3, 8}) {
      const std::size_t bytes = total(images, particles);
      expect(imagesThatFit(shape(images, particles), bytes) == images, "the images that fit");
      expect(imagesThatFit(shape(images, particles), bytes - 1) == images - 1, "the images that fit in less");
      expect(refusal(images, particles, bytes).empty(), "what fits was refused");
      const std::string why = refusal(images, particles, bytes - 1);
      const std::string remedy =
          images == 1 ? "use fewer particles" : "maxBatch " + std::to_string((images - 1) * particles) + " would fit";
      expect(why.find(remedy) != std::string::npos, why.c_str());
      ++refused;
    }
  }
  device->setFree(std::size_t{1} << 30);
  std::printf("memory: %d plans were kept to, and refused in a byte less\n", refused);
}

void checkParticles(const std::string& models, const std::vector<int>& threadCounts,
                    const std::vector<kernels::Order>& orders, int aborts) {
  std::vector<int32_t> expected;
  for (int threads : threadCounts) {
    Demo demo(models, std::make_shared<CpuDevice>(threads));
    CancelToken never;
    const std::vector<int32_t> tokens = demo.run(never).tokens;
    expect(std::all_of(tokens.begin(), tokens.end(), [](int32_t id) { return id != 1 && id >= 0 && id < 2048; }),
           "a position is still masked");
    expect(expected.empty() || expected == tokens, "the tokens depend on the threads");
    expected = tokens;
    for (const auto order : orders) {
      const std::vector<int32_t> ordered = demo.run(never, order).tokens;
      expect(std::find(ordered.begin(), ordered.end(), 1) == ordered.end(), "a position is still masked");
    }

    if (aborts == 0) continue;
    // Cancelled at ever later moments, from another thread; the same graphs run on afterwards.
    int aborted = 0;
    for (int i = 0; i < aborts; ++i) {
      auto token = std::make_shared<CancelToken>();
      std::promise<bool> ended;
      demo.engine.submit(
          token, [&, token] { demo.run(*token); },
          [&](std::exception_ptr failure) { ended.set_value(failure == nullptr); });
      std::this_thread::sleep_for(std::chrono::milliseconds(i * i));
      token->cancel();
      aborted += ended.get_future().get() ? 0 : 1;
    }
    expect(aborted > 0, "nothing was aborted");
    expect(demo.run(never).tokens == expected, "an aborted run changed a later one");
    std::printf("particles on %d threads: %d of %d aborted\n", threads, aborted, aborts);
  }
  // Loading what is no model, and a load that is cancelled.
  CancelToken fine, cancelled;
  cancelled.cancel();
  for (CancelToken* token : {&fine, &cancelled}) {
    try {
      const ort::Session session(models + "/dllm/config.json", ort::SessionOptions{}, std::make_shared<CpuDevice>(1),
                                 *token);
      expect(false, "a JSON file was loaded as a graph");
    } catch (const Error& error) {
      expect(std::string_view(error.code) == (token == &fine ? "MODEL_INVALID" : "ABORTED"), error.what());
    }
  }
}

}  // namespace
}  // namespace fkinv

int main(int argc, char** argv) {
  using namespace fkinv;
  const std::string_view what = argc > 1 ? argv[1] : "";
  Random random(20260101);
  if (what == "all" || what == "threads") {
    checkPool();
    checkEngine(random, 200);
    checkKernelsOnThreads(random);
    checkThreadLimit();
  }
  if ((what == "all" || what == "models") && argc > 3) {
    {
      const NoLeaks noLeaks;  // ONNX Runtime 1.29.0 itself loses 14 bytes as it makes its environment
      ort::open(argv[2]);
    }
    using enum kernels::Order;
    if (what == "all") {
      checkMemory(argv[3]);
      checkParticles(argv[3], {1, 3}, {confidence, entropy, margin}, 12);
    } else {
      checkParticles(argv[3], {2}, {confidence}, 0);  // valgrind is a hundred times slower
    }
  }
  std::puts("passed");
}
