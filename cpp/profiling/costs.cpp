#include "costs.h"

#include <algorithm>

namespace fkinv::costs {
namespace {

constexpr int64_t kFloat = sizeof(float), kDouble = sizeof(double), kToken = sizeof(int32_t), kSeed = sizeof(uint64_t);

int64_t logitBytes(const Logits& z) { return z.type == kernels::LogitsType::float32 ? 4 : 2; }
int64_t tileColumns(const Logits& z) { return std::min(kernels::kTile, z.vocab); }
int64_t slots(const Layout& layout) { return static_cast<int64_t>(layout.particles()) * layout.length; }

}  // namespace

Cost pass(const Logits& z, double temperature) {
  const int64_t logits = z.rows() * z.vocab, gram = static_cast<int64_t>(z.states) * z.pairs() * z.vocab;
  const int64_t exponentials = temperature == 0 || temperature == 1 ? logits : 2 * logits;
  return {logits * logitBytes(z), 2 * gram + kExponential * exponentials};
}

Cost merge(const Logits& z, int chunkTiles) {
  const int64_t chunks = (z.tiles() + chunkTiles - 1) / chunkTiles;
  const int64_t tiles = z.rows() * z.tiles(), gram = z.states * chunks * z.pairs();
  return {tiles * (4 * kFloat + kDouble) + gram * kFloat, 8 * tiles + 3 * gram};
}

Cost truncate(const Logits& z, kernels::Truncation truncation) {
  const int64_t logits = z.rows() * z.vocab;
  return {logits * logitBytes(z), kExponential * logits * (truncation.topP < 1 ? 3 : 1)};
}

Cost draw(const Logits& z, double temperature, int64_t wanted) {
  const int64_t bytes = wanted * (z.tiles() * kFloat + tileColumns(z) * logitBytes(z));
  return {bytes, temperature == 0 ? 0 : wanted * kExponential * tileColumns(z)};
}

Cost redraw(const Logits& z, int64_t redraws) {
  return {redraws * z.vocab * logitBytes(z), redraws * z.vocab * (kExponential + 2)};
}

Cost score(kernels::Order order, const Logits& z, const Layout& layout, int64_t wanted) {
  const int64_t marks = slots(layout);
  if (order == kernels::Order::confidence) return {marks + wanted * kDouble, 0};
  if (order == kernels::Order::entropy) return {marks + wanted * kFloat, 0};
  return {marks + wanted * (z.tiles() * kFloat + tileColumns(z) * logitBytes(z)), wanted * 2 * kExponential};
}

Cost coupling(const Layout& layout, int64_t pairs) { return {slots(layout) + pairs * kFloat, 4 * pairs}; }

Cost cosine(const Layout& layout, int size) {
  const int64_t values = static_cast<int64_t>(layout.particles()) * size;
  return {2 * values * kFloat, 6 * values};
}

Cost average(int64_t embeddings, int size) {
  const int64_t values = embeddings * size;
  return {values * kFloat, embeddings == 1 ? 0 : 4 * values + 3 * int64_t{size}};
}

Cost weigh(const Layout& layout, int guesses, int rewards) {
  const int64_t totals = static_cast<int64_t>(guesses) * layout.particles();
  const int64_t exponentials = guesses == 1 ? 0 : kExponential * totals;
  const int64_t particles = layout.particles();
  return {(rewards * totals + 2 * particles) * kDouble, (2 * rewards - 1) * totals + 2 * particles + exponentials};
}

Cost effectiveSampleSize(const Layout& layout) {
  return {layout.particles() * kDouble, layout.particles() * (kExponential + 3)};
}

Cost resample(const Layout& layout) { return {layout.particles() * kDouble, layout.particles() * (kExponential + 1)}; }

Cost accept(const Layout& layout) { return {slots(layout) * (2 + 2 * kDouble), 3 * slots(layout)}; }

Cost masked(const Layout& layout) { return {slots(layout) * kToken + layout.images, 0}; }

Cost exclude(const Layout& layout) { return {slots(layout) + layout.particles() * kToken, 0}; }

Cost open(const Layout& layout) { return {slots(layout) + layout.images * kSeed, 0}; }

Cost choose(const Layout& layout) { return {slots(layout) * (1 + kDouble), 0}; }

Cost place(const Layout& layout) { return {slots(layout) * (1 + kToken), 0}; }

Cost count(const Layout& layout, int64_t stops) { return {slots(layout) * kToken + stops * kToken, 0}; }

Cost gather(const Layout& layout, int64_t rowBytes) { return {layout.particles() * (kToken + rowBytes), 0}; }

}  // namespace fkinv::costs
