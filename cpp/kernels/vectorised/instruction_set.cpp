// Compiled once for each instruction set, with FKINV_INSTRUCTION_SET naming it. What is here and what it includes
// shares no inline function with other files: see vector.h.
#include "../instruction_set.h"

#include "fma_rate.h"
#include "pass.h"
#include "weigh.h"

#define FKINV_STRING_OF(x) #x
#define FKINV_STRING(x) FKINV_STRING_OF(x)

namespace fkinv::kernels {
namespace {

void exp2Of(const float* x, float* y, int n) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, exp2Flushed(load(x + i)));
  float rest[kLanes] = {};
  for (int k = 0; i + k < n; ++k) rest[k] = x[i + k];
  store(rest, exp2Flushed(load(rest)));
  for (int k = 0; i + k < n; ++k) y[i + k] = rest[k];
}

}  // namespace

extern const InstructionSet FKINV_INSTRUCTION_SET;
const InstructionSet FKINV_INSTRUCTION_SET = {FKINV_STRING(FKINV_INSTRUCTION_SET), passChunk, weighTile, exp2Of,
                                              multiplyAdds};

}  // namespace fkinv::kernels
