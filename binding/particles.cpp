#include "particles.h"

#include "addon_data.h"
#include "args.h"
#include "cpp/error.h"
#include "cpp/particles/memory_plan.h"
#include "engine.h"
#include "errors.h"
#include "particle_args.h"
#include "recorder.h"

namespace fkinv::binding {
namespace {

// { image: number, code: string, message: string }[]
Napi::Array toArray(Napi::Env env, const std::vector<Failure>& failures) {
  Napi::Array array = Napi::Array::New(env);
  for (const auto& [image, error] : failures) {
    Napi::Object failure = Napi::Object::New(env);
    failure.Set("image", image);
    failure.Set("code", error.code);
    failure.Set("message", error.what());
    array.Set(array.Length(), failure);
  }
  return array;
}

// { setUp, tokenIds, textIds, rewards, ancestors, result: { toDevice, toHost } }, bytes
Napi::Object toObject(Napi::Env env, const Copies& copies) {
  Napi::Object object = Napi::Object::New(env);
  for (std::size_t i = 0; i < copies.of.size(); ++i) {
    Napi::Object bytes = Napi::Object::New(env);
    bytes.Set("toDevice", static_cast<double>(copies.of[i].toDevice));
    bytes.Set("toHost", static_cast<double>(copies.of[i].toHost));
    object.Set(kCopiedNames[i], bytes);
  }
  return object;
}

template <class T>
Napi::Value toTypedArrayOf(Napi::Env env, const std::vector<T>& values) {
  return toTypedArray(env, values);
}

}  // namespace

Napi::Function ParticlesClass::define(Napi::Env env) {
  return DefineClass(
      env, kName,
      {InstanceMethod<&ParticlesClass::bytes>("bytes"), InstanceMethod<&ParticlesClass::denoise>("denoise"),
       InstanceMethod<&ParticlesClass::guess>("guess"), InstanceMethod<&ParticlesClass::advance>("advance"),
       InstanceMethod<&ParticlesClass::redraw>("redraw"), InstanceMethod<&ParticlesClass::accept>("accept"),
       InstanceMethod<&ParticlesClass::retire>("retire"), InstanceMethod<&ParticlesClass::finish>("finish"),
       InstanceMethod<&ParticlesClass::copies>("copies"), InstanceMethod<&ParticlesClass::similarity>("similarity"),
       InstanceMethod<&ParticlesClass::cancel>("cancel"), InstanceMethod<&ParticlesClass::release>("release")});
}

ParticlesClass::ParticlesClass(const Napi::CallbackInfo& info) : ObjectWrap(info), env_(info.Env()) {}

ParticlesClass::~ParticlesClass() { giveBack(); }

// createParticles(engine, dllm, text, references: Tensor[][], embedSize: number, options, conditions: Tensor[],
//   recorder: Recorder | undefined): Promise<Particles>, made on the engine's thread, which alone gives the device work
Napi::Value ParticlesClass::create(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guard(env, [&]() -> Napi::Value {
    const std::shared_ptr<Jobs> jobs = unwrap<EngineClass>(info[0]).jobs(env);
    const auto options = std::make_shared<const ParticleOptions>(toOptions(info[5]));
    return jobs->run(
        env, std::make_shared<CancelToken>(),
        [device = RecorderClass::deviceOf(*jobs, info[7]), dllm = toDllm(info[1]), text = toText(info[2]),
         references = toReferences(info[3]), embedSize = toInt(info[4]), options, conditions = toFeatures(info[6])] {
          auto particles = makeParticles(device, dllm, text, references, embedSize, *options, conditions);
          const std::size_t hostBytes = device->isHost() ? particles->bytes() : 0;
          return Made{std::move(particles), hostBytes};
        },
        [jobs, options](Napi::Env e, Made& made) -> Napi::Value {
          const Napi::Object object = addonData(e).particles.New({});
          ParticlesClass& self = *Unwrap(object);
          self.jobs_ = jobs;
          self.guesses_ =
              static_cast<std::size_t>(options->guesses) * static_cast<std::size_t>(options->layout.particles());
          self.rewards_ = options->rewards;
          self.particles_ = std::move(made.particles);
          self.account(static_cast<int64_t>(made.hostBytes));
          return object;
        });
  });
}

// planMemory(engine, dllm, text, embedSize: number, options): { logits, tiles, rows, texts, particles: number }
Napi::Value ParticlesClass::plan(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guard(env, [&]() -> Napi::Value {
    const auto& device = unwrap<EngineClass>(info[0]).jobs(env)->engine(env).device();
    const MemoryPlan plan =
        planMemory(memoryShape(*device, toDllm(info[1]), toText(info[2]), toInt(info[3]), toOptions(info[4])));
    Napi::Object object = Napi::Object::New(env);
    object.Set("logits", static_cast<double>(plan.logits));
    object.Set("tiles", static_cast<double>(plan.tiles));
    object.Set("rows", static_cast<double>(plan.rows));
    object.Set("texts", static_cast<double>(plan.texts));
    object.Set("particles", static_cast<double>(plan.particles));
    return object;
  });
}

// bytes(): Promise<number>, memory of the device held now
Napi::Value ParticlesClass::bytes(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [](Particles& p) { return static_cast<double>(p.bytes()); },
      [](Napi::Env env, double bytes) -> Napi::Value { return Napi::Number::New(env, bytes); });
}

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

// denoise(): Promise<{ states: Int32Array, forwards: number, failures }>, the distinct states of each image [images]
// and the rows the dLLM ran
Napi::Value ParticlesClass::denoise(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [cancel = cancel_](Particles& p) { return p.denoise(*cancel); },
      [](Napi::Env env, const Particles::Denoised& denoised) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("states", toTypedArray(env, denoised.states));
        object.Set("forwards", denoised.forwards);
        object.Set("failures", toArray(env, denoised.failures));
        return object;
      });
}

// guess(step): Promise<{ tokens: Int32Array, failures }>, tokens [guesses, particles, length]
Napi::Value ParticlesClass::guess(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [step = toInt(info[0])](Particles& p) { return p.guess(step); },
      [](Napi::Env env, const Particles::Guesses& guesses) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("tokens", toTypedArray(env, guesses.tokens));
        object.Set("failures", toArray(env, guesses.failures));
        return object;
      });
}

// advance(step, { ids: BigInt64Array, widths, textOf: Int32Array }, given: { <reward>: Float64Array }):
//   Promise<{ rewards: { <reward>: Float64Array }, logWeights, ess: Float64Array, failures, proposal }>, where the
// proposal is undefined in the last step, else { ancestors: Int32Array, resampled: Uint8Array, tokens: Int32Array }
Napi::Value ParticlesClass::advance(const Napi::CallbackInfo& info) {
  return run(
      info.Env(),
      [step = toInt(info[0]), texts = toTexts(info[1]), given = toGiven(info[2], guesses_, rewards_),
       cancel = cancel_](Particles& p) { return p.advance(step, texts, given, *cancel); },
      [list = rewards_](Napi::Env env, const Particles::Outcome& outcome) -> Napi::Value {
        const auto& [weighed, proposal] = outcome;
        Napi::Object rewards = Napi::Object::New(env);
        for (std::size_t i = 0; i < list.size(); ++i) rewards.Set(list[i].name, toTypedArray(env, weighed.rewards[i]));
        Napi::Object object = Napi::Object::New(env);
        object.Set("rewards", rewards);
        object.Set("logWeights", toTypedArray(env, weighed.logWeights));
        object.Set("ess", toTypedArray(env, weighed.ess));
        object.Set("failures", toArray(env, weighed.failures));
        if (!proposal) return object;
        Napi::Object next = Napi::Object::New(env);
        next.Set("ancestors", toTypedArray(env, proposal->ancestors));
        next.Set("resampled", toTypedArray(env, proposal->resampled));
        next.Set("tokens", toTypedArray(env, proposal->tokens));
        object.Set("proposal", next);
        return object;
      });
}

// redraw(step, ofProposal: boolean, { rows, positions, excluded, offsets: Int32Array }): Promise<Int32Array>
Napi::Value ParticlesClass::redraw(const Napi::CallbackInfo& info) {
  return run(
      info.Env(),
      [step = toInt(info[0]), ofProposal = toBool(info[1]), redraws = toRedraws(info[2])](Particles& p) {
        return p.redraw(step, ofProposal, redraws);
      },
      toTypedArrayOf<int32_t>);
}

// accept(): Promise<void>
Napi::Value ParticlesClass::accept(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [](Particles& p) { p.accept(); }, [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

// retire(image: number): Promise<void>
Napi::Value ParticlesClass::retire(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [image = toInt(info[0])](Particles& p) { p.retire(image); },
      [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

// finish(): Promise<{ tokens: Int32Array, logProb: Float64Array, stages: { name, ms, calls }[] }>
Napi::Value ParticlesClass::finish(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [](Particles& p) { return std::make_pair(p.final(), p.stages()); },
      [](Napi::Env env, const std::pair<Particles::Final, std::vector<Stage>>& result) -> Napi::Value {
        const auto& [final, stages] = result;
        Napi::Object object = Napi::Object::New(env);
        object.Set("tokens", toTypedArray(env, final.tokens));
        object.Set("logProb", toTypedArray(env, final.logProb));
        Napi::Array all = Napi::Array::New(env);
        for (const Stage& stage : stages) {
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

// copies(): Promise<{ copies, waits }>
Napi::Value ParticlesClass::copies(const Napi::CallbackInfo& info) {
  return run(
      info.Env(), [](Particles& p) { return p.copies(); },
      [](Napi::Env env, const Copies& copies) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("copies", toObject(env, copies));
        object.Set("waits", copies.waits);
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

// release(): frees the memory once no job uses it, on the engine's thread.
void ParticlesClass::release(const Napi::CallbackInfo&) { giveBack(); }

void ParticlesClass::giveBack() {
  if (particles_) jobs_->drop(std::move(particles_));
  account(0);
}

}  // namespace fkinv::binding
