#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "draw.h"
#include "truncate.h"

namespace fkinv::kernels {

/// A draw at one place, with the tokens that have probability 0 there.
struct Redraw {
  int particle, position;
  std::vector<int32_t> excluded;
};

/// Redraws as the lists that ops::Redraw takes.
struct RedrawLists {
  explicit RedrawLists(std::span<const Redraw> redraws);
  std::vector<int32_t> places, excluded, firstOf;
};

/// One token of row `r` with the tokens `excluded` suppressed: the draw that K0 to K3 would give, from a copy of the
/// row and tables of its own. Nothing, where nothing is left. Reads the row once and V floats of its own a few times.
std::optional<Drawn> redrawRow(const InstructionSet& vectors, const Logits& z, double temperature,
                               Truncation truncation, int64_t r, std::span<const int32_t> excluded, double u,
                               double uInside);

}  // namespace fkinv::kernels
