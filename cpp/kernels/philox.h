#pragma once
#include <cstdint>

#include "host_device.h"

namespace fkinv::kernels {

/// The block of numbers that Philox turns into another.
struct PhiloxBlock {
  uint32_t words[4];
};

/// Philox4x32-10 (Salmon et al., SC 2011): a counter-based generator, so a draw depends on its counter and key alone.
FKINV_HOST_DEVICE inline PhiloxBlock philox4x32(PhiloxBlock counter, uint32_t keyLow, uint32_t keyHigh) {
  uint32_t (&c)[4] = counter.words;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    counter = {{static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ keyLow, static_cast<uint32_t>(p1),
                static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ keyHigh, static_cast<uint32_t>(p0)}};
    keyLow += 0x9E3779B9;
    keyHigh += 0xBB67AE85;
  }
  return counter;
}

/// What a block of random numbers is for: a part of its counter, so that no two uses share one.
enum class Purpose : uint32_t { guess, proposal, opening, resampling, guessRedraw, proposalRedraw };

/// Two uniforms in [0, 1) with 53 bits: `u` for tile, opening and resampling, `uInside` within the tile.
struct Uniforms {
  double u, uInside;
};

FKINV_HOST_DEVICE inline double uniform(uint32_t low, uint32_t high) {
  const uint64_t bits = low | (static_cast<uint64_t>(high) << 32);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

/// counter = [step, slot, position, purpose·2^24 + guess], key = [seed low, seed high] (algorithm.md, Randomness).
/// `step`: steps done, 0 at t = T; `slot`: particle slot in its image; `position`: prompt position, 0 for resampling;
/// `guess`: the guess number, for redraws guess·2^16 + the number of tokens excluded so far.
FKINV_HOST_DEVICE inline Uniforms uniforms(uint64_t seed, uint32_t step, uint32_t slot, uint32_t position,
                                           Purpose purpose, uint32_t guess = 0) {
  const PhiloxBlock out = philox4x32({{step, slot, position, (static_cast<uint32_t>(purpose) << 24) + guess}},
                                     static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return {uniform(out.words[0], out.words[1]), uniform(out.words[2], out.words[3])};
}

}  // namespace fkinv::kernels
