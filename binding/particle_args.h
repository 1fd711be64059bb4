// What JavaScript gives the particle system, by name: a name that is missing, unknown or of another type is an error
// that says which (Fields, args.h). lib/native/addon.ts has the same as types.
#pragma once
#include <napi.h>

#include <vector>

#include "cpp/particles/particles.h"

namespace fkinv::binding {

// NativeDllmGraph and NativeTextGraph.
DllmGraph toDllm(Napi::Value value);
TextGraph toText(Napi::Value value);

// Tensor[], and Tensor[][]: the references of each image.
std::vector<Features> toFeatures(Napi::Value value);
std::vector<Reference> toReferences(Napi::Value value);

// NativeParticleOptions.
ParticleOptions toOptions(Napi::Value value);

// NativeRedraw: { rows, positions, excluded, offsets: Int32Array }
std::vector<Redraw> toRedraws(Napi::Value value);

// NativeTexts: { ids, mask: BigInt64Array, widths, textOf: Int32Array }
TextBatch toTexts(Napi::Value value);

// { <name of each of `rewards` that is given>: Float64Array [guesses] }, where `guesses` are those of all particles.
std::vector<std::vector<double>> toGiven(Napi::Value value, std::size_t guesses,
                                         const std::vector<RewardOptions>& rewards);

}  // namespace fkinv::binding
