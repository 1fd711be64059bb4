// The one read of logits, as everything that draws from them or measures their coupling begins.
#pragma once
#include "device.h"

namespace fkinv {

/// S, each row's softmax statistics and the tile table, over the tokens that `truncation` keeps. At τ = 0, where the
/// argmax is drawn, it keeps all that it must: truncating changes nothing.
inline void readLogits(Device& device, const Logits& z, double temperature, kernels::Truncation truncation,
                       const TileTable& tiles, const RowStats& rows) {
  device.pass(z, temperature, tiles);
  device.merge(z, temperature, tiles, rows);
  if (temperature != 0 && !truncation.keepsAll()) device.truncate(z, temperature, truncation, tiles, rows);
}

}  // namespace fkinv
