#include "jobs.h"

#include "addon_data.h"
#include "cpp/error.h"
#include "errors.h"

namespace fkinv::binding {

// Made and destroyed on the JavaScript thread; only `failure` is written on the engine's.
struct Jobs::Completion {
  std::shared_ptr<Jobs> jobs;
  Napi::Promise::Deferred deferred;
  std::function<Napi::Value(Napi::Env)> convert;
  std::exception_ptr failure;
};

Jobs::Jobs(Napi::Env env, std::shared_ptr<Device> device) : env_(env) {
  // May throw, so before what would have to be undone.
  engine_ = std::make_unique<Engine>(std::move(device));
  return_ = Return::New(env, "fkinv engine", 0, 1);
  return_.Unref(env);
  // Registered after the thread-safe function, so it runs before that one's own hook: hooks run last in, first out.
  napi_add_env_cleanup_hook(env, &Jobs::tearDown, this);
  addonData(env).jobs.insert(this);
}

std::shared_ptr<Jobs> Jobs::create(Napi::Env env, std::shared_ptr<Device> device) {
  return std::shared_ptr<Jobs>(new Jobs(env, std::move(device)));
}

Jobs::~Jobs() {
  engine_.reset();
  if (!alive_) return;
  addonData(env_).jobs.erase(this);
  napi_remove_env_cleanup_hook(env_, &Jobs::tearDown, this);
  return_.Release();
}

void Jobs::tearDown(void* data) {
  const auto self = static_cast<Jobs*>(data)->shared_from_this();
  self->alive_ = false;
  self->engine_.reset();
  self->return_.Release();
}

void Jobs::stopAll(Napi::Env env) {
  const std::set<Jobs*>& all = addonData(env).jobs;
  for (Jobs* jobs : all) {
    if (jobs->engine_) jobs->engine_->close();  // all of them first: they stop at the same time
  }
  for (Jobs* jobs : all) jobs->stop();
}

Engine& Jobs::engine(Napi::Env env) const {
  return *guard(env, [&] {
    if (!engine_) throw Error("DISPOSED", "the Inverter was disposed of: load another");
    return engine_.get();
  });
}

void Jobs::drop(std::shared_ptr<const void> held) {
  if (!engine_) return;
  // The engine's thread destroys the work once it is done with it, or does not do it; nothing else has what it holds.
  engine_->submit(std::make_shared<CancelToken>(), [last = std::move(held)] {}, [](const std::exception_ptr&) {});
}

Napi::Promise Jobs::submit(Napi::Env env, std::shared_ptr<CancelToken> cancel, Engine::Work work,
                           std::function<Napi::Value(Napi::Env)> convert) {
  Engine& target = engine(env);
  auto* completion = new Completion{shared_from_this(), Napi::Promise::Deferred::New(env), std::move(convert), nullptr};
  const Napi::Promise promise = completion->deferred.Promise();
  if (pending_++ == 0) return_.Ref(env);
  target.submit(std::move(cancel), std::move(work), [this, completion](std::exception_ptr failure) {
    completion->failure = std::move(failure);
    return_.NonBlockingCall(completion);  // refused only while the environment dies: then it leaks, on purpose
  });
  return promise;
}

void Jobs::deliver(Napi::Env env, Napi::Function, std::nullptr_t*, Completion* raw) {
  const std::unique_ptr<Completion> completion(raw);
  if (env == nullptr) return;  // the environment is going down: nobody waits any more
  Jobs& jobs = *completion->jobs;
  if (--jobs.pending_ == 0 && jobs.alive_) jobs.return_.Unref(env);
  const Napi::HandleScope scope(env);
  try {
    if (completion->failure) {
      completion->deferred.Reject(toJavaScript(env, completion->failure).Value());
    } else {
      completion->deferred.Resolve(completion->convert(env));
    }
  } catch (const Napi::Error& error) {
    completion->deferred.Reject(error.Value());
  }
}

}  // namespace fkinv::binding
