#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "draw.h"
#include "truncate.h"

namespace fkinv::kernels {

/// One token of row `r` with the tokens `excluded` suppressed: the draw that K0 to K3 would give, from a copy of the
/// row and tables of its own. Nothing, where nothing is left. Reads the row once and V floats of its own a few times.
std::optional<Drawn> redrawRow(const InstructionSet& vectors, const Logits& z, double temperature,
                               Truncation truncation, int64_t r, std::span<const int32_t> excluded, double u,
                               double uInside);

}  // namespace fkinv::kernels
