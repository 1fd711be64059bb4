// The kernels as plain synchronous functions, for people who profile them and for tests.
#pragma once
#include <napi.h>

namespace fkinv::binding {

void defineKernels(Napi::Env env, Napi::Object exports);

}  // namespace fkinv::binding
