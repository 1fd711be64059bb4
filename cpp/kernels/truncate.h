#pragma once
#include "instruction_set.h"

namespace fkinv::kernels {

/// Which tokens may be drawn: the `topK` most probable (0: all), then the smallest set of those whose tempered mass
/// reaches `topP` of theirs (1: all). Tokens tied with the last one kept are kept too.
struct Truncation {
  int topK = 0;
  double topP = 1;
  /// Whether it can leave out any: at τ = 0 the maximum is drawn, which no truncation does.
  bool cuts(double temperature) const { return temperature != 0 && (topK != 0 || topP != 1); }
};

/// Row `r`, merged and without a fault: finds its threshold, and rebuilds its tiles' weights and its tempered mass from
/// the tokens with z ≥ threshold. The threshold comes from radix histograms over the logits' bits, not from a sort: two
/// reads of the row for topK and two for topP, and one of the tiles that have such tokens. S, confidence, entropy and
/// margin are never truncated.
void truncateRow(const InstructionSet& vectors, const Logits& z, double temperature, Truncation truncation,
                 const TileTable& tiles, const RowStats& rows, int64_t r);

}  // namespace fkinv::kernels
