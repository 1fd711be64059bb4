// How this engine was compiled, for reports of faults.
#pragma once

namespace fkinv {

/// The compiler and its version, "GCC 12.2.0".
const char* compiler();

/// The widest vector instructions that every file is compiled for, kernels/instruction_set.h's "baseline": "SSE2" most
/// often, "AVX2", "AVX-512", "NEON"; "scalar" where there are none.
const char* baseline();

/// The compute capabilities of the GPUs that the CUDA kernels are compiled for, "75, 80, 86", in ascending order; GPUs
/// younger than the last are served by PTX, which their driver compiles. "" in a build for the CPU alone.
const char* cudaArchitectures();

/// The CUDA runtime inside, "13.0"; "" in a build for the CPU alone.
const char* cudaVersion();

}  // namespace fkinv
