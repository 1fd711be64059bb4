// npm run bench:gpu: how long the CUDA kernels take, by CUDA events, against what the GPU can do at most.
//
//   cuda_bench STATES POSITIONS VOCAB TYPE ...      prints a line of JSON for the GPU, then one for each case; TYPE is
//                                                   float32, float16 or bfloat16
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "../../cuda/cuda_device.h"
#include "device/pass_tables.h"
#include "error.h"

namespace {

using namespace fkinv;

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(status));
  std::exit(1);
}

struct Case {
  int states, positions, vocab;
  kernels::LogitsType type;
};

// Normal with deviation 3; the same values come again after kValues of them.
constexpr std::size_t kValues = std::size_t{1} << 23;
std::vector<float> someLogits() {
  constexpr float kDeviation = 3;
  std::vector<float> values(kValues);
  for (std::size_t i = 0; i < kValues; i += 2) {
    const auto [words] = kernels::philox4x32({{static_cast<uint32_t>(i), 0, 0, 0}}, 1, 0);
    const double radius = std::sqrt(-2 * std::log((words[0] + 1.0) * 0x1p-32));
    const double angle = 2 * std::numbers::pi * words[1] * 0x1p-32;
    values[i] = kDeviation * static_cast<float>(radius * std::cos(angle));
    values[i + 1] = kDeviation * static_cast<float>(radius * std::sin(angle));
  }
  return values;
}

uint16_t toHalf(float value) {
  const auto half = static_cast<_Float16>(value);
  uint16_t bits = 0;
  std::memcpy(&bits, &half, sizeof bits);
  return bits;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench() : device_(std::make_shared<CudaDevice>(0)), values_(someLogits()) {
    limits_ = device_->measureLimits();
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0));
    std::printf("{\"gpu\": \"%s\", \"multiprocessors\": %d, \"flops\": %.4g, \"bytesPerSecond\": %.4g}\n",
                properties.name, properties.multiProcessorCount, limits_.flopsPerSecond, limits_.bytesPerSecond);
  }

  void run(const Case& c) {
    const std::size_t each = c.type == kernels::LogitsType::float32 ? 4 : 2;
    const std::size_t rows = static_cast<std::size_t>(c.states) * static_cast<std::size_t>(c.positions);
    const std::size_t count = rows * static_cast<std::size_t>(c.vocab), bytes = count * each;
    // As many sets of logits as leave the one that is read next in no cache.
    constexpr std::size_t kBeyondCaches = std::size_t{512} << 20;
    const std::size_t sets = std::max<std::size_t>(1, (kBeyondCaches + bytes - 1) / bytes);
    std::vector<Array<std::byte>> logits;
    for (std::size_t s = 0; s < sets; ++s) {
      logits.emplace_back(device_, bytes);
      fill(logits.back(), c, count, each);
    }
    Logits z = {logits[0].data(), c.type, c.vocab, nullptr, c.states, c.positions, c.vocab};
    std::vector<int64_t> rowOf(rows);
    for (std::size_t r = 0; r < rows; ++r) rowOf[r] = static_cast<int64_t>(r);
    const Array<int64_t> rowsThere(device_, std::span<const int64_t>(rowOf));
    z.rowOf = rowsThere.data();
    const PassTables tables(device_, {c.states, c.positions, c.vocab, device_->chunkTiles()});
    Array<double> logModel(device_, rows), reward(device_, static_cast<std::size_t>(c.states));
    std::vector<int32_t> stateOf(static_cast<std::size_t>(c.states));
    for (int s = 0; s < c.states; ++s) stateOf[static_cast<std::size_t>(s)] = s;
    const Array<int32_t> states(device_, std::span<const int32_t>(stateOf));
    const Array<uint8_t> everywhere(device_, std::span<const uint8_t>(std::vector<uint8_t>(rows, 1)));
    const Array<uint64_t> seeds(device_, std::span<const uint64_t>(std::vector<uint64_t>{7}));
    Array<int32_t> tokens(device_, rows);
    const Layout layout = {1, c.states, c.positions};
    uint32_t step = 0;

    const auto draw = [&] {
      const Draws draws = {states.data(), everywhere.data(), seeds.data(), step++, kernels::Purpose::guess, 0,
                           tokens.data(), logModel.data()};
      device_->run(ops::Draw{z, 1, tables.tiles(), tables.rows(), layout, draws});
    };
    const std::vector<std::pair<const char*, std::function<void()>>> stages = {
        {"pass", [&] { device_->run(ops::Pass{z, 1, tables.tiles()}); }},
        {"merge", [&] { device_->run(ops::Merge{z, 1, tables.tiles(), tables.rows()}); }},
        {"coupling",
         [&] {
           device_->run(ops::Coupling{layout, tables.rows().gram, states.data(), everywhere.data(), reward.data()});
         }},
        {"draw", draw},
    };
    constexpr int kWarmUps = 5, kTimes = 41;
    std::vector<std::vector<double>> times(stages.size() + 1);
    std::vector<cudaEvent_t> events(stages.size() + 1);
    for (cudaEvent_t& event : events) check(cudaEventCreate(&event));
    for (int time = 0; time < kWarmUps + kTimes; ++time) {
      z.data = logits[static_cast<std::size_t>(time) % sets].data();
      check(cudaEventRecord(events[0], device_->stream()));
      for (std::size_t s = 0; s < stages.size(); ++s) {
        stages[s].second();
        check(cudaEventRecord(events[s + 1], device_->stream()));
      }
      check(cudaEventSynchronize(events.back()));
      if (time < kWarmUps) continue;
      float milliseconds = 0;
      for (std::size_t s = 0; s < stages.size(); ++s) {
        check(cudaEventElapsedTime(&milliseconds, events[s], events[s + 1]));
        times[s].push_back(1e3 * static_cast<double>(milliseconds));
      }
      check(cudaEventElapsedTime(&milliseconds, events.front(), events.back()));
      times.back().push_back(1e3 * static_cast<double>(milliseconds));
    }
    for (const cudaEvent_t event : events) cudaEventDestroy(event);
    const char* of = c.type == kernels::LogitsType::float32   ? "float32"
                     : c.type == kernels::LogitsType::float16 ? "float16"
                                                              : "bfloat16";
    std::printf("{\"shape\": [%d, %d, %d], \"type\": \"%s\", \"floor\": %.2f", c.states, c.positions, c.vocab, of,
                1e6 * static_cast<double>(bytes) / limits_.bytesPerSecond);
    for (std::size_t s = 0; s < stages.size(); ++s) {
      std::printf(", \"%s\": %.2f", stages[s].first, median(times[s]));
    }
    std::printf(", \"whole\": %.2f}\n", median(times.back()));
    std::fflush(stdout);
  }

 private:
  void fill(Array<std::byte>& logits, const Case& c, std::size_t count, std::size_t each) {
    std::vector<std::byte> host(kValues * each);
    for (std::size_t i = 0; i < kValues; ++i) {
      if (c.type == kernels::LogitsType::float32) {
        std::memcpy(&host[i * 4], &values_[i], 4);
      } else if (c.type == kernels::LogitsType::float16) {
        const uint16_t half = toHalf(values_[i]);
        std::memcpy(&host[i * 2], &half, 2);
      } else {
        uint32_t bits = 0;
        std::memcpy(&bits, &values_[i], 4);
        const auto half = static_cast<uint16_t>(bits >> 16);
        std::memcpy(&host[i * 2], &half, 2);
      }
    }
    for (std::size_t at = 0; at < count; at += kValues) {
      device_->upload(logits.data() + at * each, host.data(), std::min(kValues, count - at) * each);
    }
  }

  std::shared_ptr<CudaDevice> device_;
  std::vector<float> values_;
  Limits limits_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto typeOf = [](const std::string& name) {
    return name == "float32"   ? kernels::LogitsType::float32
           : name == "float16" ? kernels::LogitsType::float16
                               : kernels::LogitsType::bfloat16;
  };
  try {
    Bench bench;
    for (int at = 1; at + 3 < argc; at += 4) {
      bench.run({std::atoi(argv[at]), std::atoi(argv[at + 1]), std::atoi(argv[at + 2]), typeOf(argv[at + 3])});
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
