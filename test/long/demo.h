// Inversions on the demo models without JavaScript, for the check programs.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "particles/particles.h"

namespace fkinv {

inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// Inversions on the demo models, T = 4, as lib/sampling/sampler.ts drives them, with made-up CLIP ids.
struct Demo {
  struct Result {
    std::vector<int32_t> tokens;  // of the two images that live
    std::vector<double> rewards;  // of all steps: CLIP's, then the edit reward
    Copies copies;
  };
  Demo(const std::string& models, std::shared_ptr<Device> device, bool cudaGraphs = false) : engine(std::move(device)) {
    CancelToken token;
    const auto load = [&](const char* name) {
      return std::make_shared<ort::Session>(models + name, ort::SessionOptions{.cudaGraphs = cudaGraphs},
                                            engine.device(), token);
    };
    dllm = {load("/dllm/model.onnx"), "input_ids", "image_embeds", "", "", "", "", "logits", 0, 2048, 0, {}};
    text = {load("/clip/text_model.onnx"), "input_ids", "", "text_embeds", 48};
    for (float image = 0; image < 4; ++image) {
      std::vector<float> embeds(256);
      for (std::size_t i = 0; i < embeds.size(); ++i)
        embeds[i] = image == 3 ? 0 : std::sin(image + static_cast<float>(i));
      images.push_back(std::make_shared<const Array<float>>(engine.device(), std::span<const float>(embeds)));
    }
  }
  // Four images: a plain one, two as one reference, one whose embedding is broken, and one that is retired on the way.
  Result run(CancelToken& cancel, kernels::Order order = kernels::Order::random) {
    Result result;
    const Layout layout = {4, 3, 9};
    const auto P = static_cast<std::size_t>(layout.particles());
    constexpr int kGuesses = 2;
    std::vector<int32_t> pinned(9, -1);
    pinned[4] = 300;
    std::vector<uint8_t> start(9);
    std::fill_n(start.begin(), 4, uint8_t{1});
    Particles particles(engine.device(), dllm, text, {{images[0]}, {images[1], images[2]}, {images[3]}, {images[1]}},
                        256,
                        {.layout = layout,
                         .steps = 4,
                         .guesses = kGuesses,
                         .maskId = 1,
                         .suppressed = {1},
                         .restrictions = {{{0}, start}},
                         .stops = {0},
                         .pinned = pinned,
                         .prefixes = {},
                         .countAll = false,
                         .temperature = 0.9,
                         .truncation = {500, 0.95},
                         .order = order,
                         .firstBlock = 5,
                         .blockLength = 5,
                         .scheme = kernels::Scheme::systematic,
                         .essThreshold = 0.9,
                         .rewards = {{"clip", 100}, {"edit", 20}},
                         .seeds = {7, 8, 9, 10}});
    for (int step = 0;; ++step) {
      const auto denoised = particles.denoise(cancel);
      expect(denoised.failures.size() == (step == 0 ? 1 : 0), "the broken embedding");
      const auto guesses = particles.guess(step);
      expect(guesses.failures.empty(), "no row has a fault");
      const std::vector<int32_t>& guess = guesses.tokens;
      TextBatch texts;
      for (std::size_t i = 0; i < kGuesses * P; ++i) {
        texts.widths.push_back(1 + static_cast<int32_t>(i) % 9);
        for (int n = 0; n < texts.widths.back(); ++n) {
          texts.ids.push_back(1 + guess[i * 9 + static_cast<std::size_t>(n)] % 200);
        }
      }
      texts.textOf.resize(kGuesses * P);
      std::iota(texts.textOf.begin(), texts.textOf.end(), 0);
      if (step == 2) particles.retire(3);
      const auto [weighed, proposal] = particles.advance(step, texts, {}, cancel);
      expect(weighed.rewards.size() == 2, "the rewards");
      for (const std::vector<double>& of : weighed.rewards) {
        expect(of.size() == kGuesses * P, "a reward of each guess");
        result.rewards.insert(result.rewards.end(), of.begin(), of.end());
      }
      if (!proposal) break;
      const std::vector<int32_t>& tokens = proposal->tokens;
      for (int n = 0; n < 9; ++n) {
        const int32_t token = tokens[static_cast<std::size_t>(n)];
        if (n == 4 || token == 1 || step == 0) continue;
        particles.redraw(step, true, {{0, n, {token, token + 1}}});
        break;
      }
      particles.accept();
    }
    expect(particles.similarity(5).gram.size() == 81, "the similarity");
    result.tokens = particles.final().tokens;
    result.tokens.resize(2 * 3 * 9);
    result.copies = particles.copies();
    return result;
  }
  Engine engine;
  DllmGraph dllm;
  TextGraph text;
  std::vector<std::shared_ptr<const Array<float>>> images;
};

}  // namespace fkinv
