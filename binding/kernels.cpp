#include "kernels.h"

#include <cmath>
#include <numeric>
#include <optional>

#include "args.h"
#include "cpp/device/cpu_device.h"
#include "cpp/error.h"
#include "cpp/kernels/coupling.h"
#include "cpp/kernels/draw.h"
#include "cpp/kernels/host_tables.h"
#include "cpp/kernels/philox.h"
#include "cpp/kernels/resample.h"
#include "cpp/ops/read_logits.h"
#include "errors.h"

namespace fkinv::binding {
namespace {

// Logits in a JavaScript buffer, read in place by the pass and the merge on the calling thread.
class Read {
 public:
  // `logits`: Float32Array, or the bits of 16-bit floats in a Uint16Array.
  Read(const kernels::InstructionSet& vectors, Napi::Value logits, kernels::LogitsType type, int positions, int vocab,
       double temperature, kernels::Truncation truncation = {}) {
    const bool isFloat32 = type == kernels::LogitsType::float32;
    const void* data = isFloat32 ? static_cast<const void*>(toSpan<float>(logits).data())
                                 : static_cast<const void*>(toSpan<uint16_t>(logits).data());
    const std::size_t size = logits.As<Napi::TypedArray>().ElementLength();
    const auto states = static_cast<int>(size / static_cast<std::size_t>(positions) / static_cast<std::size_t>(vocab));
    rowOf_.resize(static_cast<std::size_t>(states) * static_cast<std::size_t>(positions));
    std::iota(rowOf_.begin(), rowOf_.end(), 0);
    // The kernels below only read; `data` is not const because K0 writes through the same view.
    z = {const_cast<void*>(data), type, vocab, rowOf_.data(), states, positions, vocab};
    CpuDevice device(1, vectors);
    tables_.emplace(kernels::PassShape{states, positions, vocab, device.chunkTiles()});
    ops::readLogits(z, temperature, truncation, tables_->of(), [&](const auto& op) { device.run(op); });
    const kernels::RowFault* const fault = rows().fault;
    for (std::size_t r = 0; r < rowOf_.size(); ++r) {
      if (fault[r] == kernels::RowFault::none) continue;
      const std::string where = "state " + std::to_string(r / static_cast<std::size_t>(positions)) + ", position " +
                                std::to_string(r % static_cast<std::size_t>(positions));
      throw fault[r] == kernels::RowFault::notFinite ? Error("INVALID_LOGITS", "NaN or +inf in the logits of " + where)
                                                     : Error("NOTHING_LEFT", "every logit is −inf in " + where);
    }
  }

  const TileTable& tiles() const { return tables_->tiles(); }
  const RowStats& rows() const { return tables_->rows(); }

  Logits z;

 private:
  std::vector<int64_t> rowOf_;
  std::optional<kernels::HostTables> tables_;
};

kernels::LogitsType toType(Napi::Value value) { return toEnum<kernels::LogitsType>(value, kernels::kLogitsTypeNames); }

// coupling(logits: Float32Array | Uint16Array, type: string, positions, vocab, counted: Uint8Array, instructionSet:
// string):
//   { gram, entropy, rowMax: Float32Array[]; mean, variance, reward: number[] }
Napi::Value coupling(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guard(env, [&]() -> Napi::Value {
    const int positions = toInt(info[2]);
    const std::span<const uint8_t> counted = toSpan<uint8_t>(info[4]);
    Read read(toInstructionSet(info[5]), info[0], toType(info[1]), positions, toInt(info[3]), 1);
    const auto N = static_cast<std::size_t>(positions);
    Napi::Object result = Napi::Object::New(env);
    for (const char* name : {"gram", "mean", "variance", "reward", "entropy", "rowMax"}) {
      result.Set(name, Napi::Array::New(env, static_cast<std::size_t>(read.z.states)));
    }
    const auto put = [&](const char* name, std::size_t q, Napi::Value value) {
      result.Get(name).As<Napi::Array>().Set(static_cast<uint32_t>(q), value);
    };
    for (std::size_t q = 0; q < static_cast<std::size_t>(read.z.states); ++q) {
      const auto rows = [&](const float* values) {
        return toTypedArray(env, std::span<const float>(values + q * N, N));
      };
      const std::span<const float> gram(read.rows().gram + q * N * N, N * N);
      const kernels::Coupling c = kernels::coupling(gram.data(), counted.data() + q * N, positions);
      put("gram", q, toTypedArray(env, gram));
      put("mean", q, Napi::Number::New(env, c.mean));
      put("variance", q, Napi::Number::New(env, c.variance));
      put("reward", q, Napi::Number::New(env, c.reward));
      put("entropy", q, rows(read.rows().entropy));
      put("rowMax", q, rows(read.rows().max));
    }
    return result;
  });
}

// draw(logits: Float32Array | Uint16Array, type: string, vocab, temperature, topK, topP, u, uInside: Float64Array,
//   instructionSet: string): Int32Array
Napi::Value draw(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guard(env, [&]() -> Napi::Value {
    const double temperature = toDouble(info[3]);
    const std::span<const double> u = toSpan<double>(info[6]), uInside = toSpan<double>(info[7]);
    const kernels::InstructionSet& vectors = toInstructionSet(info[8]);
    Read read(vectors, info[0], toType(info[1]), 1, toInt(info[2]), temperature, {toInt(info[4]), toDouble(info[5])});
    std::vector<int32_t> tokens(u.size());
    for (std::size_t r = 0; r < tokens.size(); ++r) {
      const auto row = static_cast<int64_t>(r);
      tokens[r] =
          kernels::drawRow(vectors, read.z, temperature, read.tiles(), read.rows(), row, u[r], uInside[r]).token;
    }
    return toTypedArray(env, tokens);
  });
}

// resample(logWeights: Float64Array, scheme: string, u: Float64Array): { ancestors: Int32Array, ess: number }
Napi::Value resample(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guard(env, [&]() -> Napi::Value {
    const std::span<const double> logWeights = toSpan<double>(info[0]);
    const double ess = kernels::effectiveSampleSize(logWeights);
    if (!std::isfinite(ess)) throw Error("DEGENERATE_WEIGHTS", "no log-weight is finite, or one is NaN or +inf");
    std::vector<int32_t> ancestors(logWeights.size());
    kernels::resample(logWeights, toEnum<kernels::Scheme>(info[1], kernels::kSchemeNames), toSpan<double>(info[2]),
                      ancestors);
    Napi::Object result = Napi::Object::New(env);
    result.Set("ancestors", toTypedArray(env, ancestors));
    result.Set("ess", ess);
    return result;
  });
}

// philox(counter: Uint32Array(4), key: Uint32Array(2)): Uint32Array(4)
Napi::Value philox(const Napi::CallbackInfo& info) {
  const std::span<const uint32_t> c = toSpan<uint32_t>(info[0]), k = toSpan<uint32_t>(info[1]);
  const auto out = kernels::philox4x32({{c[0], c[1], c[2], c[3]}}, k[0], k[1]);
  return toTypedArray(info.Env(), std::span<const uint32_t>(out.words));
}

// instructionSets(): string[], the best one last
Napi::Value instructionSets(const Napi::CallbackInfo& info) {
  Napi::Array names = Napi::Array::New(info.Env());
  for (const kernels::InstructionSet* set : kernels::instructionSets()) names.Set(names.Length(), set->name);
  return names;
}

}  // namespace

const kernels::InstructionSet& toInstructionSet(Napi::Value value) {
  const kernels::InstructionSet* set = kernels::findInstructionSet(toString(value));
  detail::expect(value.Env(), set != nullptr, "an instruction set of this processor");
  return *set;
}

void defineKernels(Napi::Env env, Napi::Object exports) {
  exports.Set("coupling", Napi::Function::New<coupling>(env, "coupling"));
  exports.Set("draw", Napi::Function::New<draw>(env, "draw"));
  exports.Set("resample", Napi::Function::New<resample>(env, "resample"));
  exports.Set("instructionSets", Napi::Function::New<instructionSets>(env, "instructionSets"));
  exports.Set("philox", Napi::Function::New<philox>(env, "philox"));
}

}  // namespace fkinv::binding
