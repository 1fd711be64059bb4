// r_CLIP = a·b/√(a·a b·b) of each particle's text and image embeddings (kernels/cosine.h), and several images as one
// reference (kernels/average.h): the mean of their embeddings, each made unit length first, made unit length again.
//
// texts [texts, size] in float32 or float16, images [images, size], r_CLIP [P]; embeddings `count` of [size], mean
// [size]. cosine: a warp a particle, four a block, no shared memory. average: one block of 1024 threads, which hold
// eight elements each; 256 bytes of shared memory. Sums in float64 and in a fixed order.
//
// Bytes: 8·size a particle, 6·size where texts are float16; 4·size an averaged image. FLOPs in float64: 6·size a
// particle, 5·size an averaged image.
//
// Floor of cosine, computed and not measured, for size 512 and P = 8: 33 KB, 0.04 µs on an A6000 (768 GB/s) and 0.01 µs
// on an H100 (3.35 TB/s), less than a launch takes.
#include "common.cuh"

namespace fkinv::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kAveraging = 1024, kOfThread = 8;

template <class Element>
__global__ void __launch_bounds__(kThreads) cosineOf(Layout layout, const Element* texts, const int32_t* textOf,
                                                     const float* images, int size, double* rewardClip) {
  const int p = warpOfGrid();
  if (p >= layout.particles()) return;
  const Element* const a = texts + static_cast<int64_t>(textOf[p]) * size;
  const float* const b = images + static_cast<int64_t>(p / layout.perImage) * size;
  double ab = 0, aa = 0, bb = 0;
  for (int i = laneOf(); i < size; i += kWarp) {
    const double x = static_cast<double>(widen(a[i])), y = static_cast<double>(b[i]);
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  ab = sumOfWarp(ab);
  aa = sumOfWarp(aa);
  bb = sumOfWarp(bb);
  if (laneOf() == 0) rewardClip[p] = ab / sqrt(aa * bb);
}

// A part of an embedding in the registers of a thread: elements threadIdx.x + kAveraging·i.
struct Part {
  double of[kOfThread];

  // The length of the whole.
  __device__ double length(double* ofWarps) const {
    double squares = 0;
    for (const double v : of) squares += v * v;
    return sqrt(sumOfBlock(squares, ofWarps));
  }
};

__global__ void __launch_bounds__(kAveraging)
    averageOf(const float* const* embeddings, int count, int size, float* mean) {
  __shared__ double ofWarps[kAveraging / kWarp];
  const auto eachOfThread = [=](auto f) {
    for (int i = 0; i < kOfThread; ++i) {
      const int at = static_cast<int>(threadIdx.x) + kAveraging * i;
      if (at < size) f(i, at);
    }
  };
  if (count == 1) return eachOfThread([=](int, int at) { mean[at] = embeddings[0][at]; });
  Part sum = {};
  for (int e = 0; e < count; ++e) {
    Part one = {};
    eachOfThread([&](int i, int at) { one.of[i] = static_cast<double>(embeddings[e][at]); });
    const double length = one.length(ofWarps);
    eachOfThread([&](int i, int) { sum.of[i] += one.of[i] / length; });
  }
  const double length = sum.length(ofWarps);
  eachOfThread([&](int i, int at) { mean[at] = static_cast<float>(length == 0 ? 0 : sum.of[i] / length); });
}

}  // namespace

cudaError_t launch(const ops::Cosine& op, cudaStream_t stream) {
  return withElement(op.texts.type, [&](auto element) {
    using Element = decltype(element);
    return FKINV_LAUNCH(cosineOf<Element>, blocksFor(op.layout.particles(), kThreads / kWarp), kThreads, 0, stream,
                        op.layout, static_cast<const Element*>(op.texts.data), op.textOf, op.images, op.size,
                        op.rewardClip);
  });
}

cudaError_t launch(const ops::Average& op, cudaStream_t stream) {
  if (op.size > kAveraging * kOfThread) return cudaErrorInvalidValue;
  return FKINV_LAUNCH(averageOf, 1, kAveraging, 0, stream, op.embeddings, op.count, op.size, op.mean);
}

}  // namespace fkinv::cuda
