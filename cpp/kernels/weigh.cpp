#include "cpu.h"

namespace fkinv::kernels {

void run(const ops::Weigh& op, const Cpu&) {
  for (int p = 0; p < op.layout.particles(); ++p) {
    op.totals[p] = total(op.rewards, op.guesses, op.layout.particles(), p);
    op.logWeights[p] += op.totals[p] - op.previousTotals[p];
  }
}

}  // namespace fkinv::kernels
