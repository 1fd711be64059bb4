// How this engine was compiled, for reports of faults.
#pragma once

namespace fkinv {

/// The compiler and its version, "GCC 12.2.0".
const char* compiler();

/// The widest vector instructions that the kernels are compiled for: "SSE2", "AVX2", "AVX-512", "NEON"; "scalar" where
/// there are none.
const char* instructionSet();

}  // namespace fkinv
