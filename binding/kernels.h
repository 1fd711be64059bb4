#pragma once
#include <napi.h>

#include "cpp/kernels/instruction_set.h"

namespace fkinv::binding {

/// Registers the kernels on the addon.
void defineKernels(Napi::Env env, Napi::Object exports);

/// The instruction set of a name; a TypeError where this processor has none of that name.
const kernels::InstructionSet& toInstructionSet(Napi::Value value);

}  // namespace fkinv::binding
