// class Particles: the particle system of one call.
#pragma once
#include <napi.h>

#include "cpp/particles/particles.h"
#include "jobs.h"

namespace fkinv::binding {

class ParticlesClass : public Napi::ObjectWrap<ParticlesClass> {
 public:
  static constexpr const char* kName = "Particles";
  static Napi::Function define(Napi::Env env);
  explicit ParticlesClass(const Napi::CallbackInfo& info);
  ~ParticlesClass() override;

  static Napi::Value create(const Napi::CallbackInfo& info);
  static Napi::Value plan(const Napi::CallbackInfo& info);

 private:
  // What the engine's thread made, and the host's memory that it holds.
  struct Made {
    std::shared_ptr<Particles> particles;
    std::size_t hostBytes;
  };
  Napi::Value denoise(const Napi::CallbackInfo& info);
  Napi::Value guess(const Napi::CallbackInfo& info);
  Napi::Value advance(const Napi::CallbackInfo& info);
  Napi::Value redraw(const Napi::CallbackInfo& info);
  Napi::Value accept(const Napi::CallbackInfo& info);
  Napi::Value retire(const Napi::CallbackInfo& info);
  Napi::Value finish(const Napi::CallbackInfo& info);
  Napi::Value copies(const Napi::CallbackInfo& info);
  Napi::Value similarity(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  void cancel(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);

  // f(particles) as a job; convert(env, result) on the JavaScript thread.
  template <class F, class Convert>
  Napi::Value run(Napi::Env env, F f, Convert convert);
  void account(int64_t bytes);
  void giveBack();

  napi_env env_;
  std::shared_ptr<Jobs> jobs_;
  std::shared_ptr<CancelToken> cancel_ = std::make_shared<CancelToken>();
  std::shared_ptr<Particles> particles_;
  std::size_t guesses_ = 0;  // of all particles
  std::vector<RewardOptions> rewards_;
  int64_t bytes_ = 0;
};

}  // namespace fkinv::binding
