#include "particle_args.h"

#include "args.h"
#include "session.h"
#include "tensor.h"

namespace fkinv::binding {
namespace {

template <class F>
void eachOf(Napi::Value list, F f) {
  const Napi::Object array = toObject(list);
  for (uint32_t i = 0; i < array.As<Napi::Array>().Length(); ++i) f(array.Get(i));
}

// { ids: Int32Array, at: Uint8Array }[]
std::vector<Restriction> toRestrictions(Napi::Value value) {
  std::vector<Restriction> restrictions;
  eachOf(value, [&](Napi::Value each) {
    Fields of(each);
    restrictions.push_back({.ids = toVector<int32_t>(of["ids"]), .at = toVector<uint8_t>(of["at"])});
    of.expectNoOther();
  });
  return restrictions;
}

// { name: string, lambda: number, isGiven: boolean }[]
std::vector<RewardOptions> toRewards(Napi::Value value) {
  std::vector<RewardOptions> rewards;
  eachOf(value, [&](Napi::Value each) {
    Fields of(each);
    rewards.push_back(
        {.name = toString(of["name"]), .lambda = toDouble(of["lambda"]), .isGiven = toBool(of["isGiven"])});
    of.expectNoOther();
  });
  return rewards;
}

}  // namespace

DllmGraph toDllm(Napi::Value value) {
  Fields of(value);
  DllmGraph graph = {.session = unwrap<SessionClass>(of["session"]).session(value.Env()),
                     .ids = toString(of["ids"]),
                     .condition = toString(of["condition"]),
                     .attentionMask = toString(of["attentionMask"]),
                     .positionIds = toString(of["positionIds"]),
                     .timestep = toString(of["timestep"]),
                     .rows = toString(of["rows"]),
                     .logits = toString(of["logits"]),
                     .attentionBlock = toInt(of["attentionBlock"]),
                     .vocab = toInt(of["vocab"]),
                     .shift = toInt(of["shift"]),
                     .suffix = toVector<int32_t>(of["suffix"]),
                     .conditionShape = toVector<int64_t>(of["conditionShape"])};
  of.expectNoOther();
  return graph;
}

TextGraph toText(Napi::Value value) {
  Fields of(value);
  TextGraph graph = {.session = unwrap<SessionClass>(of["session"]).session(value.Env()),
                     .ids = toString(of["ids"]),
                     .attentionMask = toString(of["attentionMask"]),
                     .embeddings = toString(of["embeddings"]),
                     .maxWidth = toInt(of["maxWidth"])};
  of.expectNoOther();
  return graph;
}

// Tensor[]
std::vector<Features> toFeatures(Napi::Value value) {
  std::vector<Features> features;
  eachOf(value, [&](Napi::Value tensor) { features.push_back(unwrap<TensorClass>(tensor).values()); });
  return features;
}

// Tensor[][]: the references of each image.
std::vector<Reference> toReferences(Napi::Value value) {
  std::vector<Reference> references;
  eachOf(value, [&](Napi::Value ofImage) { references.push_back(toFeatures(ofImage)); });
  return references;
}

// { rows, positions, excluded, offsets: Int32Array }
std::vector<Redraw> toRedraws(Napi::Value value) {
  Fields of(value);
  const std::span<const int32_t> rows = toSpan<int32_t>(of["rows"]), positions = toSpan<int32_t>(of["positions"]),
                                 excluded = toSpan<int32_t>(of["excluded"]), offsets = toSpan<int32_t>(of["offsets"]);
  of.expectNoOther();
  std::vector<Redraw> redraws;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    redraws.push_back({rows[i], positions[i], {excluded.begin() + offsets[i], excluded.begin() + offsets[i + 1]}});
  }
  return redraws;
}

// { ids, mask: BigInt64Array, widths, textOf: Int32Array }
TextBatch toTexts(Napi::Value value) {
  Fields of(value);
  TextBatch texts = {.ids = toVector<int64_t>(of["ids"]),
                     .mask = toVector<int64_t>(of["mask"]),
                     .widths = toVector<int32_t>(of["widths"]),
                     .textOf = toVector<int32_t>(of["textOf"])};
  of.expectNoOther();
  return texts;
}

// { <name of each reward that is given>: Float64Array [guesses, particles] }
std::vector<std::vector<double>> toGiven(Napi::Value value, std::size_t guesses,
                                         const std::vector<RewardOptions>& rewards) {
  Fields of(value);
  std::vector<std::vector<double>> given;
  for (const RewardOptions& reward : rewards) {
    if (!reward.isGiven) continue;
    given.push_back(toVector<double>(of[reward.name.c_str()]));
    detail::expect(value.Env(), given.back().size() == guesses, "a value of each guess");
  }
  of.expectNoOther();
  return given;
}

ParticleOptions toOptions(Napi::Value value) {
  Fields of(value);
  ParticleOptions options = {.layout = {.images = toInt(of["images"]),
                                        .perImage = toInt(of["particlesPerImage"]),
                                        .length = toInt(of["length"])},
                             .steps = toInt(of["steps"]),
                             .guesses = toInt(of["guesses"]),
                             .maskId = toInt(of["maskId"]),
                             .suppressed = toVector<int32_t>(of["suppressed"]),
                             .restrictions = toRestrictions(of["restrictions"]),
                             .stops = toVector<int32_t>(of["stops"]),
                             .pinned = toVector<int32_t>(of["pinned"]),
                             .prefixes = toVector<int32_t>(of["prefixes"]),
                             .countAll = toBool(of["countAll"]),
                             .temperature = toDouble(of["temperature"]),
                             .truncation = {.topK = toInt(of["topK"]), .topP = toDouble(of["topP"])},
                             .order = toEnum<kernels::Order>(of["order"], kernels::kOrderNames),
                             .firstBlock = toInt(of["firstBlock"]),
                             .blockLength = toInt(of["blockLength"]),
                             .scheme = toEnum<kernels::Scheme>(of["scheme"], kernels::kSchemeNames),
                             .essThreshold = toDouble(of["essThreshold"]),
                             .rewards = toRewards(of["rewards"]),
                             .seeds = toVector<uint64_t>(of["seeds"])};
  of.expectNoOther();
  return options;
}

}  // namespace fkinv::binding
