// K0 (kernels/suppress.h): z[r, id] = −inf of every row r of the positions that `at` marks and every id of the list.
//
// z [Q·N, V], ids [count], at [N]. A block of 128 threads a row, a thread an id. No shared memory.
//
// Bytes: for each row 4 a listed id to read, and 64 an id in z, as a sector of 32 is read and written. No FLOPs.
//
// Floor, computed and not measured, for N = 77 and 100 ids: 0.5 MB a state, 0.7 µs on an A6000 (768 GB/s) and 0.2 µs on
// an H100 (3.35 TB/s).
#include "common.cuh"

namespace fkinv::cuda {
namespace {

constexpr int kThreads = 128;

template <class Element>
__global__ void __launch_bounds__(kThreads) suppressRow(Logits z, const int32_t* ids, int count, const uint8_t* at) {
  const int64_t r = blockIdx.x;
  if (at != nullptr && at[r % z.positions] == 0) return;
  Element* const row = rowOf<Element>(z, r);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads)
    row[ids[i]] = static_cast<Element>(kMinusInfinity);
}

}  // namespace

cudaError_t launch(const ops::Suppress& op, cudaStream_t stream) {
  if (op.ids.empty()) return cudaSuccess;
  return withElement(op.z.type, [&](auto element) {
    return FKINV_LAUNCH(suppressRow<decltype(element)>, static_cast<unsigned>(op.z.rows()), kThreads, 0, stream, op.z,
                        op.ids.data(), static_cast<int>(op.ids.size()), op.at.empty() ? nullptr : op.at.data());
  });
}

}  // namespace fkinv::cuda
