#pragma once
#include <cstdint>
#include <span>

#include "../kernels/layout.h"
#include "../kernels/pass_result.h"
#include "cost.h"

namespace fkinv::ops {

/// K3 (kernels/draw.h): a token for each wanted position of each particle.
struct Draw {
  static constexpr const char* kName = "draw";

  kernels::Logits z;
  double temperature;
  kernels::TileTable tiles;
  kernels::RowStats rows;
  kernels::Layout layout;
  kernels::Draws draws;

  /// What the cost depends on besides the shapes.
  std::span<const uint8_t> marks() const { return {draws.wanted, static_cast<std::size_t>(layout.positions())}; }

  /// Each draw reads the weights (τ = 0: the maxima) of its row's tiles, and the tile that it picks.
  Cost cost(std::span<const uint8_t> marked) const {
    const int64_t drawn = countOf(marked);
    const int64_t bytes = drawn * (z.tiles() * kFloat + tileColumns(z) * logitBytes(z));
    return {bytes, temperature == 0 ? 0 : drawn * kExponential * tileColumns(z)};
  }
};

}  // namespace fkinv::ops
