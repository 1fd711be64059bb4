#pragma once

namespace fkinv::kernels {

/// The rewards of one particle at one step; 0 before the first.
struct Rewards {
  double clip = 0, edit = 0;
};

/// log G_t = λ_CLIP (r_CLIP,t − r_CLIP,t+1) + λ_edit (r_edit,t − r_edit,t+1), the rewards of t + 1 being the particle's
/// own ancestor's: along one trajectory the sum telescopes to λ_CLIP r_CLIP + λ_edit r_edit of its last step.
double logPotential(double lambdaClip, double lambdaEdit, Rewards now, Rewards previous);

}  // namespace fkinv::kernels
