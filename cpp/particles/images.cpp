#include "images.h"

#include <cmath>
#include <numeric>
#include <utility>

namespace fkinv {

Images::Images(std::shared_ptr<Device> device, Transfer& transfer, const Extents& extents,
               const ParticleOptions& options, std::vector<Reference> references, std::vector<Features> conditions)
    : device_(std::move(device)),
      transfer_(transfer),
      extents_(extents),
      layout_(options.layout),
      embedSize_(static_cast<int>(extents.embedSize)),
      references_(std::move(references)),
      conditions_(std::move(conditions)),
      live_(extents.images, 1) {
  allocate(arrays_, device_, extents_);
  transfer_.upload(Copied::setUp, arrays_.seeds, options.seeds);
}

void Images::fail(int image, Error error, std::vector<Failure>& failures) {
  if (!isLive(image)) return;
  retire(image);
  failures.push_back({image, std::move(error)});
}

void Images::uploadLive() {
  if (known_ == live_) return;
  transfer_.upload(Copied::setUp, arrays_.live, live_);
  known_ = live_;
}

const float* Images::conditionOf(int image) const {
  const auto b = static_cast<std::size_t>(image);
  return conditions_.empty() ? arrays_.embeds.data() + b * extents_.embedSize : conditions_[b]->data();
}

void Images::prepare(int conditionSize, std::vector<Failure>& failures) {
  averageReferences(failures);
  checkConditions(conditionSize, failures);
}

void Images::averageReferences(std::vector<Failure>& failures) {
  const Layout perImage = {layout_.images, 1, 1};
  std::vector<int32_t> itself(references_.size());
  std::iota(itself.begin(), itself.end(), 0);
  for (std::size_t b = 0; b < references_.size(); ++b) {
    std::vector<const float*> embeddings;
    for (const auto& embedding : references_[b]) embeddings.push_back(embedding->data());
    const Array<const float*> list = transfer_.onDevice(Copied::setUp, embeddings);
    device_->run(ops::Average{.embeddings = list.data(),
                              .count = static_cast<int>(embeddings.size()),
                              .size = embedSize_,
                              .mean = arrays_.embeds.data() + b * extents_.embedSize});
  }
  // The cosine of an embedding with itself is finite where it has a direction.
  const Array<int32_t> images = transfer_.onDevice(Copied::setUp, itself);
  Array<double> cosines(device_, extents_.images);
  device_->run(ops::Cosine{.layout = perImage,
                           .texts = {arrays_.embeds.data(), kernels::LogitsType::float32},
                           .textOf = images.data(),
                           .images = arrays_.embeds.data(),
                           .size = embedSize_,
                           .rewardClip = cosines.data()});
  const std::vector<double> withItself = transfer_.download(Copied::setUp, cosines);
  for (std::size_t b = 0; b < withItself.size(); ++b) {
    if (std::isfinite(withItself[b])) continue;
    fail(static_cast<int>(b),
         Error("INVALID_EMBEDDING",
               references_[b].size() > 1
                   ? "CLIP's embeddings of the images cancel out, or one is zero or not finite"
                   : "CLIP's embedding of an image is zero or not finite: check the model's export"),
         failures);
  }
}

void Images::checkConditions(int conditionSize, std::vector<Failure>& failures) {
  if (conditions_.empty()) return;
  const Array<int32_t> itself = transfer_.onDevice(Copied::setUp, std::vector<int32_t>{0});
  Array<double> cosines(device_, extents_.images);
  for (int b = 0; b < layout_.images; ++b) {
    device_->run(ops::Cosine{.layout = {1, 1, 1},
                             .texts = {conditionOf(b), kernels::LogitsType::float32},
                             .textOf = itself.data(),
                             .images = conditionOf(b),
                             .size = conditionSize,
                             .rewardClip = cosines.data() + b});
  }
  const std::vector<double> withItself = transfer_.download(Copied::setUp, cosines);
  for (std::size_t b = 0; b < withItself.size(); ++b) {
    if (std::isfinite(withItself[b])) continue;
    fail(static_cast<int>(b),
         Error("INVALID_EMBEDDING",
               "what the dLLM's own vision graph gives for an image is zero or not finite: check "
               "the model's export"),
         failures);
  }
}

}  // namespace fkinv
