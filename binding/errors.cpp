#include "errors.h"

#include <string>
#include <system_error>
#include <utility>

#include "addon_data.h"

namespace fkinv::binding {
namespace {

Napi::Error make(Napi::Env env, const char* code, const std::string& message) {
  const Napi::FunctionReference& errorClass = addonData(env).errorClass;
  if (errorClass.IsEmpty()) return Napi::Error::New(env, message);
  return errorClass.New({Napi::String::New(env, code), Napi::String::New(env, message)}).As<Napi::Error>();
}

}  // namespace

Napi::Error toJavaScript(Napi::Env env, std::exception_ptr failure) {
  try {
    std::rethrow_exception(std::move(failure));
  } catch (const Error& error) {
    return make(env, error.code, error.what());
  } catch (const std::bad_alloc&) {
    return make(env, "OUT_OF_MEMORY", "out of memory: use fewer particles, a smaller maxBatch or a shorter prompt");
  } catch (const std::system_error& error) {
    // Threads are all that the engine asks the system for and may be refused.
    return make(env, "OUT_OF_MEMORY", std::string(error.what()) + ": use fewer threads, or allow the process more");
  } catch (const std::exception& error) {
    return make(env, "INTERNAL", std::string("the native engine failed: ") + error.what());
  }
}

}  // namespace fkinv::binding
