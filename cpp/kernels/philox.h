#pragma once
#include <array>
#include <cstdint>

namespace fkinv::kernels {

/// Philox4x32-10 (Salmon et al., SC 2011): a counter-based generator, so a draw depends on its counter and key alone.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// What a block of random numbers is for: a part of its counter, so that no two uses share one.
enum class Purpose : uint32_t { guess, proposal, opening, resampling, guessRedraw, proposalRedraw };

/// Two uniforms in [0, 1) with 53 bits: `u` for tile, opening and resampling, `uInside` within the tile.
struct Uniforms {
  double u, uInside;
};

/// counter = [step, slot, position, purpose·2^24 + guess], key = [seed low, seed high] (algorithm.md, Randomness).
/// `step`: steps done, 0 at t = T; `slot`: particle slot in its image; `position`: prompt position, 0 for resampling;
/// `guess`: the guess number, for redraws guess·2^16 + the number of tokens excluded so far.
Uniforms uniforms(uint64_t seed, uint32_t step, uint32_t slot, uint32_t position, Purpose purpose, uint32_t guess = 0);

}  // namespace fkinv::kernels
