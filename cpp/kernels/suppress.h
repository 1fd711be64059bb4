#pragma once
#include <cstdint>
#include <span>

#include "logits.h"

namespace fkinv::kernels {

/// K0. Writes −inf at `ids` into the rows of the positions where `at` [positions] is not 0, or into all rows where it
/// is empty: [MASK], specials, surplus columns and banned tokens everywhere; stop ids where the prompt must not end.
/// Ids lie in [0, vocab).
void suppress(const Logits& z, std::span<const int32_t> ids, std::span<const uint8_t> at);

}  // namespace fkinv::kernels
