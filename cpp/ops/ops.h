// The kernels as values: an op has the arguments of one, the name that profiles call it by, and its cost. A device runs
// it (Device::run); what it computes stands in kernels/ and in cuda/. This is the one list of them: from it come the
// variant, the functions that a device dispatches to (kernels/cpu.h, cuda/launchers.h) and the spans of a profile.
// Pointers and spans are to the memory of the device that runs the op, and have to be valid while it does.
#pragma once
#include <variant>

#include "accept.h"
#include "average.h"
#include "choose.h"
#include "cosine.h"
#include "count.h"
#include "coupling.h"
#include "draw.h"
#include "effective_sample_size.h"
#include "exclude.h"
#include "gather.h"
#include "masked.h"
#include "merge.h"
#include "open.h"
#include "pass.h"
#include "place.h"
#include "redraw.h"
#include "resample.h"
#include "score.h"
#include "suppress.h"
#include "truncate.h"
#include "weigh.h"

// X(Op) of each, in the order of a step. It is a macro because a list of types declares no functions by itself, and a
// kernel that was forgotten on a device should fail to link rather than to run.
// clang-format off
#define FKINV_OPS(X) \
  X(Average) \
  X(Suppress) \
  X(Pass) \
  X(Merge) \
  X(Truncate) \
  X(Masked) \
  X(Exclude) \
  X(Draw) \
  X(Redraw) \
  X(Count) \
  X(Coupling) \
  X(Cosine) \
  X(Weigh) \
  X(EffectiveSampleSize) \
  X(Resample) \
  X(Gather) \
  X(Score) \
  X(Choose) \
  X(Open) \
  X(Place) \
  X(Accept)
// clang-format on

namespace fkinv::ops {
namespace detail {
template <class, class... Ops>
using Variant = std::variant<Ops...>;
}

#define FKINV_NEXT(Name) , Name
using Op = detail::Variant<void FKINV_OPS(FKINV_NEXT)>;
#undef FKINV_NEXT

}  // namespace fkinv::ops
