#pragma once
#include <cstdint>

#include "../kernels/pass_result.h"
#include "cost.h"

namespace fkinv::ops {

/// K2 (kernels/merge.h): the tiles of each row and state into `rows`, its statistics and S.
struct Merge {
  static constexpr const char* kName = "merge";

  kernels::Logits z;
  double temperature;
  kernels::TileTable tiles;
  kernels::RowStats rows;

  /// The table of tiles and chunks once; 3 operations an entry of the Gram and 8 a tile of a row.
  Cost cost() const {
    const int64_t chunks = (z.tiles() + tiles.chunkTiles - 1) / tiles.chunkTiles;
    const int64_t cells = z.rows() * z.tiles(), gram = z.states * chunks * z.pairs();
    return {cells * (4 * kFloat + kDouble) + gram * kFloat, 8 * cells + 3 * gram};
  }
};

}  // namespace fkinv::ops
