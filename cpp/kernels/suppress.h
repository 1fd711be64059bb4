#pragma once
#include <cstdint>
#include <span>

#include "logits.h"

namespace fkinv::kernels {

/// K0. Writes −inf into every row at the ids of `suppressed` ([MASK], specials, surplus columns, banned words), and
/// into the first `minLength` positions at the `stops`: a prompt cannot be empty. Ids lie in [0, vocab).
void suppress(const Logits& z, std::span<const int32_t> suppressed, std::span<const int32_t> stops, int minLength);

}  // namespace fkinv::kernels
