#include "philox.h"

namespace fkinv::kernels {
namespace {

double uniform(uint32_t low, uint32_t high) {
  const uint64_t bits = low | (static_cast<uint64_t>(high) << 32);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

Uniforms uniforms(uint64_t seed, uint32_t step, uint32_t slot, uint32_t position, Purpose purpose, uint32_t guess) {
  const auto out = philox4x32({step, slot, position, (static_cast<uint32_t>(purpose) << 24) + guess},
                              {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return {uniform(out[0], out[1]), uniform(out[2], out[3])};
}

}  // namespace fkinv::kernels
