// How this engine was compiled, for reports of faults.
#pragma once

namespace fkinv {

/// The compiler and its version, "GCC 12.2.0".
const char* compiler();

/// The widest vector instructions that every file is compiled for, kernels/instruction_set.h's "baseline": "SSE2" most
/// often, "AVX2", "AVX-512", "NEON"; "scalar" where there are none.
const char* baseline();

/// Compute capabilities of the GPUs that the CUDA kernels are compiled for, "75, 80, 86"; empty in a build without
/// them.
const char* cudaArchitectures();

}  // namespace fkinv
