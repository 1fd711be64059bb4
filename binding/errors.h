// Failures of the engine as the package's one JavaScript error class.
#pragma once
#include <napi.h>

#include <exception>

#include "cpp/error.h"

namespace fkinv::binding {

/// The JavaScript error for `failure`: FkinvError with its code for an fkinv::Error, code "INTERNAL" for anything else.
Napi::Error toJavaScript(Napi::Env env, std::exception_ptr failure);

/// Runs `f`, throwing its failures as JavaScript errors.
template <class F>
decltype(auto) guard(Napi::Env env, F f) {
  try {
    return f();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw toJavaScript(env, std::current_exception());
  }
}

}  // namespace fkinv::binding
