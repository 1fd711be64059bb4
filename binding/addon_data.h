// What each JavaScript environment (the main thread, a worker) has of its own.
#pragma once
#include <napi.h>

namespace fkinv::binding {

struct AddonData {
  Napi::FunctionReference errorClass;       // FkinvError, given by setErrorClass()
  Napi::FunctionReference session, tensor;  // constructors of the classes that only the addon makes
};

inline AddonData& addonData(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }

}  // namespace fkinv::binding
