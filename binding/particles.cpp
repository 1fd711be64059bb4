#include "particles.h"

#include "args.h"
#include "cpp/error.h"
#include "engine.h"
#include "errors.h"
#include "session.h"
#include "tensor.h"

namespace fkinv::binding {
namespace {

DllmGraph toDllm(Napi::Value value) {
  const Napi::Object o = toObject(value);
  return {unwrap<SessionClass>(o.Get("session")).session(value.Env()), toString(o.Get("ids")),
          toString(o.Get("condition")), toString(o.Get("logits")), toInt(o.Get("vocab"))};
}

TextGraph toText(Napi::Value value) {
  const Napi::Object o = toObject(value);
  return {unwrap<SessionClass>(o.Get("session")).session(value.Env()), toString(o.Get("ids")),
          toString(o.Get("embeddings")), toInt(o.Get("maxWidth"))};
}

ParticleOptions toOptions(Napi::Value value) {
  const Napi::Object o = toObject(value);
  return {{toInt(o.Get("images")), toInt(o.Get("particlesPerImage")), toInt(o.Get("length"))},
          toInt(o.Get("steps")),
          toInt(o.Get("maskId")),
          toVector<int32_t>(o.Get("suppressed")),
          toVector<int32_t>(o.Get("stops")),
          toInt(o.Get("minLength")),
          toBool(o.Get("countAll")),
          toDouble(o.Get("temperature")),
          toDouble(o.Get("lambdaClip")),
          toDouble(o.Get("lambdaEdit")),
          toVector<uint64_t>(o.Get("seeds"))};
}

}  // namespace

Napi::Function ParticlesClass::define(Napi::Env env) {
  return DefineClass(
      env, kName,
      {InstanceMethod<&ParticlesClass::denoise>("denoise"), InstanceMethod<&ParticlesClass::guess>("guess"),
       InstanceMethod<&ParticlesClass::reward>("reward"), InstanceMethod<&ParticlesClass::weigh>("weigh"),
       InstanceMethod<&ParticlesClass::resample>("resample"), InstanceMethod<&ParticlesClass::propose>("propose"),
       InstanceMethod<&ParticlesClass::finish>("finish"), InstanceMethod<&ParticlesClass::similarity>("similarity"),
       InstanceMethod<&ParticlesClass::cancel>("cancel"), InstanceMethod<&ParticlesClass::release>("release")});
}

// new Particles(engine, dllm, text, imageEmbeds: Tensor, embedSize: number, options)
ParticlesClass::ParticlesClass(const Napi::CallbackInfo& info) : ObjectWrap(info), env_(info.Env()) {
  guard(info.Env(), [&] {
    jobs_ = unwrap<EngineClass>(info[0]).jobs(info.Env());
    const Engine& engine = jobs_->engine(info.Env());
    particles_ = std::make_shared<Particles>(engine.device(), toDllm(info[1]), toText(info[2]),
                                             unwrap<TensorClass>(info[3]).values(), toInt(info[4]), toOptions(info[5]));
  });
  account(static_cast<int64_t>(particles_->bytes()));
}

ParticlesClass::~ParticlesClass() { account(0); }

// Tells V8 of the host memory that hangs on this object, so that it is collected in time.
void ParticlesClass::account(int64_t bytes) {
  int64_t total;
  napi_adjust_external_memory(env_, bytes - bytes_, &total);
  bytes_ = bytes;
}

template <class F, class Convert>
Napi::Value ParticlesClass::run(Napi::Env env, F f, Convert convert) {
  return guard(env, [&]() -> Napi::Value {
    if (!particles_) throw Error("DISPOSED", "the particles were released");
    return jobs_->run(
        env, cancel_, [particles = particles_, f = std::move(f)] { return f(*particles); }, std::move(convert));
  });
}

// denoise(): Promise<Int32Array>, the distinct states of each image [images]
Napi::Value ParticlesClass::denoise(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [cancel = cancel_](Particles& p) { return p.denoise(*cancel); },
      [](Napi::Env env, const std::vector<int32_t>& states) -> Napi::Value { return toTypedArray(env, states); });
}

// guess(step): Promise<Int32Array>, [particles, length]
Napi::Value ParticlesClass::guess(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [step = toInt(info[0])](Particles& p) { return p.guess(step); },
      [](Napi::Env env, const std::vector<int32_t>& tokens) -> Napi::Value { return toTypedArray(env, tokens); });
}

// reward(ids: BigInt64Array, texts: number, textOf: Int32Array): Promise<{ clip, edit: Float64Array }>
Napi::Value ParticlesClass::reward(const Napi::CallbackInfo& info) {
  return run(
      info.Env(),
      [ids = toVector<int64_t>(info[0]), texts = toInt(info[1]), textOf = toVector<int32_t>(info[2]),
       cancel = cancel_](Particles& p) { return p.reward(ids, texts, textOf, *cancel); },
      [](Napi::Env env, const Particles::Rewards& rewards) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("clip", toTypedArray(env, rewards.clip));
        object.Set("edit", toTypedArray(env, rewards.edit));
        return object;
      });
}

// weigh(): Promise<{ logWeights, ess: Float64Array }>
Napi::Value ParticlesClass::weigh(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [](Particles& p) { return p.weigh(); },
      [](Napi::Env env, const Particles::Weights& weights) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("logWeights", toTypedArray(env, weights.logWeights));
        object.Set("ess", toTypedArray(env, weights.ess));
        return object;
      });
}

// resample(step): Promise<Int32Array>, the ancestors [particles], slots within the image
Napi::Value ParticlesClass::resample(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [step = toInt(info[0])](Particles& p) { return p.resample(step); },
      [](Napi::Env env, const std::vector<int32_t>& ancestors) -> Napi::Value { return toTypedArray(env, ancestors); });
}

// propose(step): Promise<void>
Napi::Value ParticlesClass::propose(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [step = toInt(info[0])](Particles& p) { p.propose(step); },
      [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

// finish(): Promise<{ tokens: Int32Array, logProb: Float64Array, stages: { name, ms, calls }[] }>
Napi::Value ParticlesClass::finish(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [](Particles& p) { return std::make_pair(p.final(), p.stages()); },
      [](Napi::Env env, const std::pair<Particles::Final, std::vector<Particles::Stage>>& result) -> Napi::Value {
        const auto& [final, stages] = result;
        Napi::Object object = Napi::Object::New(env);
        object.Set("tokens", toTypedArray(env, final.tokens));
        object.Set("logProb", toTypedArray(env, final.logProb));
        Napi::Array all = Napi::Array::New(env);
        for (const Particles::Stage& stage : stages) {
          Napi::Object one = Napi::Object::New(env);
          one.Set("name", stage.name);
          one.Set("ms", stage.milliseconds);
          one.Set("calls", stage.calls);
          all.Set(all.Length(), one);
        }
        object.Set("stages", all);
        return object;
      });
}

// similarity(particle): Promise<{ gram: Float32Array, counted: Uint8Array, mean, variance, reward }>
Napi::Value ParticlesClass::similarity(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [particle = toInt(info[0])](Particles& p) { return p.similarity(particle); },
      [](Napi::Env env, const Particles::Similarity& s) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("gram", toTypedArray(env, s.gram));
        object.Set("counted", toTypedArray(env, s.counted));
        object.Set("mean", s.coupling.mean);
        object.Set("variance", s.coupling.variance);
        object.Set("reward", s.coupling.reward);
        return object;
      });
}

// cancel(): stops the job that runs now, and fails all later ones with "ABORTED".
void ParticlesClass::cancel(const Napi::CallbackInfo&) { cancel_->cancel(); }

// release(): frees the memory once no job uses it.
void ParticlesClass::release(const Napi::CallbackInfo&) {
  particles_.reset();
  account(0);
}

}  // namespace fkinv::binding
