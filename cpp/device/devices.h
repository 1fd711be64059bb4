// The devices of this machine, by name.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device.h"
#include "kernels/instruction_set.h"

namespace fkinv {

/// A GPU, as its driver describes it.
struct Gpu {
  std::string name;
  int computeCapability;  // 90 for 9.0
  int64_t bytes;          // of its memory
};

/// What of CUDA is here.
struct CudaFacts {
  std::string architectures;   // that this build has kernels for, "75, 80"; empty where it has none
  std::string runtime;         // the CUDA that the kernels were built with, "13.0"; empty likewise
  std::string driver;          // release of the driver, "580.65.06"; empty where there is none, or it does not say
  std::string driverServes;    // the newest CUDA that the driver serves, "13.0"; empty where there is no driver
  std::string fault;           // why a driver that is there gives no GPUs; empty where it gives them
  std::vector<Gpu> gpus = {};  // cuda:0, cuda:1, …
};

/// Asks the driver. It needs neither a build with CUDA nor a GPU, and touches no GPU's memory.
CudaFacts cudaFacts();

/// "cpu", or "cuda:0", "cuda:1", … as CUDA counts them; `threads` and `vectors` are the CPU's. Throws Error
/// "CUDA_UNAVAILABLE", which says why and what to do.
std::shared_ptr<Device> makeDevice(const std::string& name, int threads, const kernels::InstructionSet& vectors);

}  // namespace fkinv
