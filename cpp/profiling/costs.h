// What each kernel reads and computes, from its shapes alone: what the recorder says of it, and docs/kernels.md.
#pragma once
#include <cstdint>

#include "device/device.h"
#include "recorder.h"

namespace fkinv::costs {

/// Operations of one exponential with what forms its argument and adds it up: a polynomial of degree 5 takes about as
/// many in every instruction set.
inline constexpr int64_t kExponential = 20;

/// Every logit once; the upper triangle of the Gram, and an exponential each, two of them where τ is not 1.
Cost pass(const Logits& z, double temperature);
/// The table of tiles and chunks, of `chunkTiles` tiles each, once; 3 operations an entry of the Gram and 8 a tile of a
/// row.
Cost merge(const Logits& z, int chunkTiles);
/// Every row once, as if none had a fault: two exponentials a logit for top-p, and one for the weights that are left.
Cost truncate(const Logits& z, kernels::Truncation truncation);
/// `wanted` tokens: each reads the weights (τ = 0: the maxima) of its row's tiles, and the tile that it picks.
Cost draw(const Logits& z, double temperature, int64_t wanted);
/// `redraws` tokens, each from a row that is read once.
Cost redraw(const Logits& z, int64_t redraws);
/// `wanted` scores. The margin re-reads the winning tile, and the maxima of the row's.
Cost score(kernels::Order order, const Logits& z, const Layout& layout, int64_t wanted);
/// `pairs` of counted positions i < j, once for the mean and once for the variance.
Cost coupling(const Layout& layout, int64_t pairs);
Cost cosine(const Layout& layout, int size);
Cost average(int64_t embeddings, int size);
Cost weigh(const Layout& layout, int guesses, int rewards);
Cost effectiveSampleSize(const Layout& layout);
/// As if every image were resampled.
Cost resample(const Layout& layout);
Cost accept(const Layout& layout);
// Those that only compare and move read their arguments once.
Cost masked(const Layout& layout);
Cost exclude(const Layout& layout);
Cost open(const Layout& layout);
Cost choose(const Layout& layout);
Cost place(const Layout& layout);
Cost count(const Layout& layout, int64_t stops);
Cost gather(const Layout& layout, int64_t rowBytes);

}  // namespace fkinv::costs
