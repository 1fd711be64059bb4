// npm run bench:kernels: the engine's side of it, and what all contenders share.
//
//   kernels_bench logits TYPE COUNT FILE                        writes COUNT logits, normal with deviation 3
//   kernels_bench limits THREADS                                prints what the machine can do at most (Limits)
//   kernels_bench run TYPE P N V THREADS LOGITS RESULTS         the engine as a contender (contender.ts has the
//   protocol)
#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

#include "device/cpu_device.h"
#include "device/pass_tables.h"
#include "ops/read_logits.h"
#include "platform/build_facts.h"

namespace {

using namespace fkinv;
using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The processor's best, or the one that FKINV_INSTRUCTION_SET names, as in the package.
const kernels::InstructionSet& vectors() {
  const char* name = std::getenv("FKINV_INSTRUCTION_SET");
  if (name == nullptr || *name == '\0') return kernels::bestInstructionSet();
  const kernels::InstructionSet* named = kernels::findInstructionSet(name);
  if (named == nullptr) throw std::runtime_error(std::string("this processor has no ") + name);
  return *named;
}

// Rounded to nearest even; what is smaller than the smallest normal number is 0.
uint16_t narrow(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7fffffff;
  const uint32_t rounded = (magnitude + 0xfff + ((magnitude >> 13) & 1)) >> 13, bias = 112 << 10;
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | (rounded < bias + 0x400 ? 0 : rounded - bias));
}

// By Box and Muller, from Philox: the same on every machine but for the C library's last bit.
void writeLogits(const std::string& type, uint64_t count, const std::string& file) {
  constexpr double kDeviation = 3, kStep = 0x1p-32;
  std::ofstream out(file, std::ios::binary);
  std::vector<char> block;
  for (uint64_t i = 0; i < count; i += 4) {
    const auto [words] = kernels::philox4x32({{static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), 0, 0}}, 1, 0);
    float normal[4];
    for (size_t pair = 0; pair < 4; pair += 2) {
      const double radius = kDeviation * std::sqrt(-2 * std::log((words[pair] + 1.0) * kStep));
      const double angle = 2 * std::numbers::pi * words[pair + 1] * kStep;
      normal[pair] = static_cast<float>(radius * std::cos(angle));
      normal[pair + 1] = static_cast<float>(radius * std::sin(angle));
    }
    for (uint64_t k = 0; k < 4 && i + k < count; ++k) {
      const uint16_t half = narrow(normal[k]);
      const char* bytes =
          type == "float32" ? reinterpret_cast<const char*>(&normal[k]) : reinterpret_cast<const char*>(&half);
      block.insert(block.end(), bytes, bytes + (type == "float32" ? sizeof(float) : sizeof half));
    }
    if (block.size() > 1 << 20 || i + 4 >= count) {
      out.write(block.data(), static_cast<std::streamsize>(block.size()));
      block.clear();
    }
  }
  if (!out.flush()) throw std::runtime_error("cannot write " + file);
}

// The most memory that was resident since resetPeak(), in bytes; NaN where the system does not tell.
double peakBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return 1024 * std::stod(line.substr(6));
  }
  return std::nan("");
}

void resetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

// What the engine holds for a step beside the logits and what each thread works in.
struct Workspace {
  Workspace(const std::shared_ptr<Device>& device, const Logits& z)
      : tables(device, {z.states, z.positions, z.vocab, device->chunkTiles()}),
        rewards(device, static_cast<size_t>(z.states)),
        tokens(device, static_cast<size_t>(z.rows())) {}

  static size_t gramSize(const Logits& z) { return static_cast<size_t>(z.rows()) * static_cast<size_t>(z.positions); }
  size_t bytes() const { return tables.bytes() + rewards.bytes() + tokens.bytes(); }

  PassTables tables;
  Array<double> rewards;
  Array<int32_t> tokens;
};

// Logits in memory, and a particle for each state.
struct Step {
  Step(const std::shared_ptr<Device>& d, const std::string& type, int states, int positions, int vocab)
      : device(d),
        layout{1, states, positions},
        bytes(static_cast<size_t>(states) * static_cast<size_t>(positions) * static_cast<size_t>(vocab) *
              (type == "float32" ? sizeof(float) : sizeof(uint16_t))),
        data(device, bytes) {
    for (int64_t row = 0; row < static_cast<int64_t>(states) * positions; ++row) rowOf.push_back(row);
    for (int state = 0; state < states; ++state) stateOf.push_back(state);
    everywhere.assign(rowOf.size(), 1);
    z = {data.data(), type == "float32" ? kernels::LogitsType::float32 : kernels::LogitsType::float16,
         vocab,       rowOf.data(),
         states,      positions,
         vocab};
  }

  // One step; returns its stages' seconds as JSON.
  std::string run(Workspace& w) {
    const auto start = Clock::now();
    const auto& [tiles, rows] = w.tables.of();
    ops::readLogits(z, 1, {}, w.tables.of(), [&](const auto& op) { device->run(op); });
    const double similarity = secondsSince(start);
    device->run(ops::Coupling{layout, rows.gram, stateOf.data(), everywhere.data(), w.rewards.data()});
    const double reward = secondsSince(start) - similarity;
    const Draws draws = {stateOf.data(), everywhere.data(), &seed, step++, kernels::Purpose::guess, 0, w.tokens.data()};
    device->run(ops::Draw{z, 1, tiles, rows, layout, draws});
    const double whole = secondsSince(start);
    char json[160];
    std::snprintf(json, sizeof json, R"({"similarity":%.9f,"reward":%.9f,"draw":%.9f,"whole":%.9f})", similarity,
                  reward, whole - similarity - reward, whole);
    return json;
  }

  std::shared_ptr<Device> device;
  Layout layout;
  size_t bytes;
  Array<char> data;
  std::vector<int64_t> rowOf;
  std::vector<int32_t> stateOf;
  std::vector<uint8_t> everywhere;
  Logits z{};
  uint64_t seed = 1;
  uint32_t step = 0;
};

void contend(const std::string& type, int states, int positions, int vocab, int threads, const std::string& logits,
             const std::string& results) {
  const auto device = std::make_shared<CpuDevice>(threads, vectors());
  Step small(device, type, 1, 2, kernels::kTile);  // what is loaded and started once
  Workspace ofSmall(device, small.z);
  std::fill_n(small.data.data(), small.bytes, '\0');
  small.run(ofSmall);

  Step step(device, type, states, positions, vocab);
  std::ifstream file(logits, std::ios::binary);
  if (!file.read(step.data.data(), static_cast<std::streamsize>(step.bytes))) {
    throw std::runtime_error("cannot read " + logits);
  }
  resetPeak();
  const double before = peakBytes();
  Workspace workspace(device, step.z);
  const std::string first = step.run(workspace);
  const double extra = peakBytes() - before;

  std::ofstream out(results, std::ios::binary);
  out.write(reinterpret_cast<const char*>(workspace.tables.rows().gram),
            static_cast<std::streamsize>(Workspace::gramSize(step.z) * sizeof(float)));
  out.write(reinterpret_cast<const char*>(workspace.rewards.data()),
            static_cast<std::streamsize>(static_cast<size_t>(states) * sizeof(double)));
  if (!out.flush()) throw std::runtime_error("cannot write " + results);

  std::printf(R"({"first":%s,"extraBytes":%s,"workspaceBytes":%zu,"about":{"compiler":"%s","instruction set":"%s"}})"
              "\n",
              first.c_str(), std::isnan(extra) ? "null" : std::to_string(extra).c_str(), workspace.bytes(), compiler(),
              vectors().name);
  std::fflush(stdout);
  for (int repetitions; std::cin >> repetitions;) {
    std::string list;
    for (int i = 0; i < repetitions; ++i) list.append(i > 0 ? "," : "").append(step.run(workspace));
    std::printf("[%s]\n", list.c_str());
    std::fflush(stdout);
  }
}

void printLimits(int threads) {
  const Limits limits = CpuDevice(threads, vectors()).measureLimits();
  std::printf(R"({"flopsPerSecond":%.0f,"bytesPerSecond":%.0f})"
              "\n",
              limits.flopsPerSecond, limits.bytesPerSecond);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> args(argv + 1, argv + argc);
    if (args.size() == 4 && args[0] == "logits") {
      writeLogits(args[1], std::stoull(args[2]), args[3]);
    } else if (args.size() == 2 && args[0] == "limits") {
      printLimits(std::stoi(args[1]));
    } else if (args.size() == 8 && args[0] == "run") {
      contend(args[1], std::stoi(args[2]), std::stoi(args[3]), std::stoi(args[4]), std::stoi(args[5]), args[6],
              args[7]);
    } else {
      throw std::runtime_error("see the top of bench/kernels/engine.cpp");
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
