#pragma once
#include <span>

namespace fkinv::kernels {

/// λ_CLIP r_CLIP + λ_edit r_edit of one particle's guesses: the log-mean-exp of the guesses' totals, which of a single
/// guess is its own. `clip` and `edit` have an entry a guess.
///
/// log G_t is this minus the same of t + 1, the particle's own ancestor's, 0 before the first step: along one
/// trajectory the sum telescopes to the total of its last step.
double total(double lambdaClip, double lambdaEdit, std::span<const double> clip, std::span<const double> edit);

}  // namespace fkinv::kernels
