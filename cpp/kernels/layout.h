// How particles, blocks and draws lie in memory: plain structs, which the C++ compiler and nvcc share, so that a kernel
// and its twin mean the same by them. Pointers are to the memory of the device that runs the kernel.
#pragma once
#include <cstdint>

#include "host_device.h"
#include "philox.h"

namespace fkinv::kernels {

/// How particles are laid out: image b's particles are b·perImage … b·perImage + perImage − 1, its "slots". Arrays of
/// particles are [particles], arrays of their positions [particles, length].
struct Layout {
  int images, perImage, length;

  FKINV_HOST_DEVICE int particles() const { return images * perImage; }
  FKINV_HOST_DEVICE int positions() const { return particles() * length; }
};

/// The positions of one block: which may open at this step, and how far its own schedule is.
struct Block {
  int first, last;  // [first, last)
  int step, steps;
};

/// One draw for each wanted position of each particle.
struct Draws {
  const int32_t* stateOf;         // [particles] the distinct state whose logits a particle draws from
  const uint8_t* wanted;          // [particles, length]
  const uint64_t* seeds;          // [images]
  uint32_t step;                  // steps done
  Purpose purpose;                // guess or proposal
  uint32_t guess;                 // guess number
  int32_t* tokens;                // [particles, length] written where wanted, as are the following, when given
  double* logModel = nullptr;     // [particles, length] log p of the token
  double* logProposal = nullptr;  // [particles, length] log τ of the token
};

/// Which images are resampled (isDue() in resample.h): of those that live.
struct Due {
  const uint8_t* live;  // [images]
  const double* ess;    // [images]
  double threshold;
};

}  // namespace fkinv::kernels
