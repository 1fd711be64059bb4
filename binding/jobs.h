// Work on an engine's thread, results as promises.
#pragma once
#include <napi.h>

#include <functional>
#include <memory>

#include "cpp/engine/engine.h"

namespace fkinv::binding {

/// An engine and the one thread-safe function through which its results come back. It keeps the process alive while a
/// job is under way, and no longer. When its environment goes down (worker exit, process.exit) it stops the running
/// job, joins the engine's thread and drops what was not delivered.
class Jobs : public std::enable_shared_from_this<Jobs> {
 public:
  static std::shared_ptr<Jobs> create(Napi::Env env, std::shared_ptr<Device> device);
  ~Jobs();

  /// Throws a JavaScript error with code "DISPOSED" once stop() was called.
  Engine& engine(Napi::Env env) const;

  /// Stops every engine of the environment, and joins their threads. process.exit() runs no cleanup hooks, and exit()
  /// destroys what a thread in ONNX Runtime still uses: lib/native/addon.ts calls this when the process exits.
  static void stopAll(Napi::Env env);

  /// Joins the engine's thread. Close the engine and let its jobs drain first, or this waits for them.
  void stop() { engine_.reset(); }

  /// Gives up what is on the engine's device, on the engine's thread, behind the jobs that wait; here once that thread
  /// has ended, when nobody else gives the device work.
  void drop(std::shared_ptr<const void> held);

  /// Runs `work` on the engine's thread; `convert` turns its result into the promise's value on the JavaScript thread.
  template <class Work, class Convert>
  Napi::Promise run(Napi::Env env, const std::shared_ptr<CancelToken>& cancel, Work work, Convert convert) {
    using Result = std::invoke_result_t<Work>;
    if constexpr (std::is_void_v<Result>) {
      return submit(env, cancel, std::move(work), std::move(convert));
    } else {
      const auto result = std::make_shared<std::unique_ptr<Result>>();
      return submit(
          env, cancel, [result, work = std::move(work)] { *result = std::make_unique<Result>(work()); },
          [result, convert = std::move(convert)](Napi::Env e) mutable -> Napi::Value { return convert(e, **result); });
    }
  }

 private:
  struct Completion;
  explicit Jobs(Napi::Env env, std::shared_ptr<Device> device);
  Napi::Promise submit(Napi::Env env, std::shared_ptr<CancelToken> cancel, Engine::Work work,
                       std::function<Napi::Value(Napi::Env)> convert);
  static void deliver(Napi::Env env, Napi::Function, std::nullptr_t*, Completion* completion);
  static void tearDown(void* self);

  using Return = Napi::TypedThreadSafeFunction<std::nullptr_t, Completion, &Jobs::deliver>;
  napi_env env_;
  Return return_;
  int pending_ = 0;
  bool alive_ = true;
  std::unique_ptr<Engine> engine_;
};

}  // namespace fkinv::binding
