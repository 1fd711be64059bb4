// What each JavaScript environment (the main thread, a worker) has of its own.
#pragma once
#include <napi.h>

#include <set>

namespace fkinv::binding {

class Jobs;

struct AddonData {
  Napi::FunctionReference errorClass;                  // FkinvError, given by setErrorClass()
  Napi::FunctionReference session, tensor, particles;  // constructors of the classes that only the addon makes
  std::set<Jobs*> jobs;                                // every one that lives
};

inline AddonData& addonData(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }

}  // namespace fkinv::binding
