// K1 (kernels/pass.h), the one read of the logits. In the log2 domain, for each row and each tile of 1024 columns, with
// an integer m: x = z·log2e − m ≤ 3, mass Σ 2^x, moment Σ x·2^x, weight Σ 2^(x/τ), and the largest z; for each two rows
// of a state and each tile Σ 2^(x_i + x_j).
//
// z [Q, N, V]; the table's tiles [Q·N, ⌈V/1024⌉]; the Gram [Q, ⌈V/1024⌉, N(N + 1)/2].
// Grid Q·⌈V/1024⌉, a warp for each 16 rows a block. A warp takes the exponentials of its rows, 32 columns at a time, to
// shared memory, in the order of registers that mma has its operands in (instructions.cuh): 8 rows are the same as its
// A and as its B. Then it adds up the products of its 16 rows with every 16 that are up to half a turn further on, so
// that each two meet once. What is read next is under way meanwhile. Whatever is summed, is in an order that depends on
// nothing else. Shared memory: 23 KB for N ≤ 80, 37 KB for more.
//
// Tensor cores take float16. An exponential, times 2^8, is the sum of two of those, and a product of two exponentials
// is high·high + high·low + low·high: S is then as good as in float32, within 1e-5. With one float16 each, a third of
// the work, an entry is off by up to 2^-10, μ by more than 1e-4 where few tokens have all the probability.
//
// N = 77, V = 126464, float16, a state: reads 19.5 MB, writes 1.7 MB; 9.7 M exponentials; 2.9 GFLOP on tensor cores (30
// tiles of 16 × 8 sums, three products each). Floors, computed and not measured: A6000 25 µs for the logits (768 GB/s),
// 19 µs for the products (155 TFLOP/s); H100 5.8 µs (3.35 TB/s) and 2.9 µs (990 TFLOP/s). N = 128: 32.4 MB and 7.0
// GFLOP; A6000 42 µs and 45 µs, H100 9.7 µs and 7.1 µs.
#include <cstring>
#include <type_traits>

#include "common.cuh"
#include "instructions.cuh"

namespace fkinv::cuda {
namespace {

constexpr int kGroup = 8;           // rows of an operand, four lanes each
constexpr int kBlock = 16;          // rows of a warp
constexpr int kSteps = 2;           // mma's of 16 columns, four a lane
constexpr int kSlab = 16 * kSteps;  // columns between two barriers
constexpr float kLazy = 3;          // how far a row may grow past its exponent before that follows
constexpr float kHuge = std::numeric_limits<float>::max();
constexpr float kLog2eFloat = static_cast<float>(kLog2e);
constexpr float kOperandScale = 256;  // what exponentials are multiplied by in float16: below 2^-14 those lose digits

template <class T>
__device__ T bitsAs(uint32_t bits) {
  static_assert(sizeof(T) == sizeof bits);
  T value;
  memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}

// 2^d for an integral d ≤ 0, exactly; 0 below −126, and where d is NaN.
__device__ float powerOfTwo(float d) {
  return d >= -126 ? bitsAs<float>(static_cast<uint32_t>(static_cast<int>(d) + 127) << 23) : 0.0f;
}

// ---- Logits: a lane's four columns of a row, as they are in memory

template <class Element>
constexpr uint32_t kMinusInfinityBits = 0xff800000;
template <>
constexpr uint32_t kMinusInfinityBits<__half> = 0xfc00fc00;
template <>
constexpr uint32_t kMinusInfinityBits<__nv_bfloat16> = 0xff80ff80;

template <class Element>
struct Four {
  static constexpr int kWords = sizeof(Element);
  uint32_t words[kWords];
};

__device__ float largest(const Four<float>& z) {
  return fmaxf(fmaxf(bitsAs<float>(z.words[0]), bitsAs<float>(z.words[1])),
               fmaxf(bitsAs<float>(z.words[2]), bitsAs<float>(z.words[3])));
}
__device__ float largest(const Four<__half>& z) {
  const float2 two = __half22float2(__hmax2(bitsAs<__half2>(z.words[0]), bitsAs<__half2>(z.words[1])));
  return fmaxf(two.x, two.y);
}
__device__ float largest(const Four<__nv_bfloat16>& z) {
  const float2 two =
      __bfloat1622float2(__hmax2(bitsAs<__nv_bfloat162>(z.words[0]), bitsAs<__nv_bfloat162>(z.words[1])));
  return fmaxf(two.x, two.y);
}

// Two of the four logits as floats: the first two for half 0, the last two for half 1.
__device__ float2 widened(const Four<float>& z, int half) {
  return {bitsAs<float>(z.words[2 * half]), bitsAs<float>(z.words[2 * half + 1])};
}
__device__ float2 widened(const Four<__half>& z, int half) { return __half22float2(bitsAs<__half2>(z.words[half])); }
__device__ float2 widened(const Four<__nv_bfloat16>& z, int half) {
  return __bfloat1622float2(bitsAs<__nv_bfloat162>(z.words[half]));
}

// The rows of a state; −inf beyond their end, and in rows that it has not. Where rows do not begin at 16 bytes they are
// read one by one, and widened: Element is float whatever is stored.
template <class Element, bool kAligned>
struct Rows {
  static_assert(kAligned || std::is_same_v<Element, float>);
  const void* const* of;  // [positions] in shared memory
  int positions, end;
  kernels::LogitsType type;

  // This lane's columns of a row: whose they are is the same in every row, and else of no account.
  __device__ void read(Four<Element> (&to)[kSteps], int row, int slab) const {
    const int t = laneOf() % 4;
    if constexpr (kAligned && sizeof(Element) == 2) {
      const uint4 eight = load(row, slab + 8 * t);
      to[0] = {{eight.x, eight.y}};
      to[1] = {{eight.z, eight.w}};
    } else if constexpr (kAligned) {
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        const uint4 four = load(row, slab + 16 * k + 4 * t);
        to[k] = {{four.x, four.y, four.z, four.w}};
      }
    } else if (type == kernels::LogitsType::float32) {
      readEach<float>(to, row, slab + 4 * t);
    } else if (type == kernels::LogitsType::float16) {
      readEach<__half>(to, row, slab + 4 * t);
    } else {
      readEach<__nv_bfloat16>(to, row, slab + 4 * t);
    }
  }

 private:
  __device__ uint4 load(int row, int column) const {
    if (row >= positions || column >= end) {
      constexpr uint32_t kNothing = kMinusInfinityBits<Element>;
      return {kNothing, kNothing, kNothing, kNothing};
    }
    return __ldcs(reinterpret_cast<const uint4*>(static_cast<const Element*>(of[row]) + column));
  }

  template <class Stored>
  __device__ void readEach(Four<float> (&to)[kSteps], int row, int first) const {
    const bool isRow = row < positions;
    const Stored* at = static_cast<const Stored*>(of[isRow ? row : 0]);
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int column = first + 16 * k + c;
        const float z = isRow && column < end ? widen(__ldg(at + column)) : kMinusInfinity;
        memcpy(&to[k].words[c], &z, sizeof z);
      }
    }
  }
};

// ---- A row's sums

// A lane's four columns of exponentials, times 2^8, in float16 and what that leaves of them.
struct alignas(16) Operand {
  uint32_t high[2], low[2];
};

__device__ uint32_t halves(float2 x) {
  const __half2 pair = __float22half2_rn(x);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

// Two rows' operands, in the order of mma's A.
struct Rows16 {
  uint32_t high[4], low[4];

  __device__ void set(int r, const Operand& operand) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      high[2 * half + r] = operand.high[half];
      low[2 * half + r] = operand.low[half];
    }
  }
};

// A row's exponent m = ⌈z·log2e⌉ = high + low, both integers, where z is the largest logit met when it was last moved:
// a float does not hold z·log2e to its last digit where |z| > 2^22, two floats do.
struct alignas(16) Exponent {
  float high, low, z;

  __device__ float of(float logit) const { return fmaf(logit, kLog2eFloat, -high) - low; }

  // At first every logit but −inf is above it.
  static __device__ Exponent nothing() { return {-kHuge, -kHuge, kMinusInfinity}; }
  static __device__ Exponent above(float z) {
    const float product = fminf(fmaxf(z * kLog2eFloat, -kHuge), kHuge);
    const float rest = fmaf(z, kLog2eFloat, -product);  // exact
    const float ceiling = ceilf(product);
    return {ceiling, ceiling == product ? ceilf(rest) : 0, z};
  }
  // m; −inf where nothing was met. From z·log2e itself where that is too large for a float.
  __device__ double value() const {
    if (z == kMinusInfinity) return static_cast<double>(kMinusInfinity);
    if (fabsf(high) == kHuge) return ceil(static_cast<double>(z) * kLog2e);
    return static_cast<double>(high) + static_cast<double>(low);
  }
};

// A lane's share of one row's sums. The exponent is in shared memory, as registers are scarce.
template <class Element, bool kTempered>
struct Row {
  float max = kMinusInfinity, mass = 0, moment = 0, weight = 0;

  __device__ bool isDue(const Four<Element> (&z)[kSteps], const Exponent& exponent) {
#pragma unroll
    for (const Four<Element>& four : z) max = fmaxf(max, largest(four));
    return exponent.of(max) > kLazy;
  }

  // Moves the exponent up to what the row's lanes have met; returns what the sums so far were multiplied by.
  __device__ float raise(Exponent& shared, float inverse) {
    const Exponent before = shared;
    float met = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
    met = fmaxf(met, __shfl_xor_sync(kAllLanes, met, 2));
    __syncwarp();  // all have read it
    if (!(before.of(met) > 0)) return 1;
    const Exponent after = Exponent::above(met);
    const float shift = (before.high - after.high) + (before.low - after.low), scale = powerOfTwo(shift);
    moment = scale > 0 ? scale * (moment + mass * shift) : 0;
    mass *= scale;
    if constexpr (kTempered) weight *= exp2f(shift * inverse);
    if (laneOf() % 4 == 0) shared = after;
    return scale;
  }

  __device__ Operand exponentiate(const Four<Element>& z, const Exponent exponent, float inverse) {
    Operand operand;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 two = widened(z, half);
      const float x = exponent.of(two.x), y = exponent.of(two.y);
      const float ofX = exp2Flushed(x), ofY = exp2Flushed(y);
      mass += ofX + ofY;
      moment = fmaf(fmaxf(x, -126), ofX, fmaf(fmaxf(y, -126), ofY, moment));  // 0 · −inf would be NaN
      if constexpr (kTempered) weight += exp2Flushed(x * inverse) + exp2Flushed(y * inverse);
      const float2 scaled = {ofX * kOperandScale, ofY * kOperandScale};
      operand.high[half] = halves(scaled);
      const float2 rounded = __half22float2(bitsAs<__half2>(operand.high[half]));
      operand.low[half] = halves({scaled.x - rounded.x, scaled.y - rounded.y});
    }
    return operand;
  }

  // The four lanes' sums, on each of them.
  __device__ void gather() {
#pragma unroll
    for (int distance = 1; distance < 4; distance *= 2) {
      max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, distance));
      mass += __shfl_xor_sync(kAllLanes, mass, distance);
      moment += __shfl_xor_sync(kAllLanes, moment, distance);
      if constexpr (kTempered) weight += __shfl_xor_sync(kAllLanes, weight, distance);
    }
  }

  // After gather().
  __device__ void write(const TileTable& out, int64_t at, double m) const {
    out.max[at] = max;
    out.exponent[at] = m;
    out.mass[at] = mass;
    out.moment[at] = moment;
    out.weight[at] = kTempered ? weight : mass;
  }
};

// ---- The Gram

// Which rows a warp multiplies its own with: of the `blocks` of 16 rows those 0, 1 … after its own, round and round. Of
// an even number, the half turn is the first half's.
struct Partners {
  int warp, blocks;

  __device__ int count() const { return (blocks + 1) / 2 + (blocks % 2 == 0 && warp < blocks / 2 ? 1 : 0); }
  __device__ int block(int i) const { return warp + i < blocks ? warp + i : warp + i - blocks; }
};

// A warp's sums: for each partner 16 rows by two groups of 8 columns. A lane has the columns 2t, 2t + 1 of row g, then
// of row g + 8 (instructions.cuh).
template <int kPartners>
struct Sums {
  float of[kPartners][2][4] = {};

  // The sums are multiplied by the powers of two of their rows and of their columns, which is exact.
  __device__ void rescale(const Partners& partners, const float* scales) {
    const int lane = laneOf(), column = lane % 4 * 2;
    const float* rows = scales + kBlock * partners.warp + lane / 4;
    const float top = rows[0], bottom = rows[kGroup];
#pragma unroll
    for (int i = 0; i < kPartners; ++i) {
      if (i >= partners.count()) break;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float* columns = scales + kBlock * partners.block(i) + kGroup * h + column;
        of[i][h][0] *= top * columns[0];
        of[i][h][1] *= top * columns[1];
        of[i][h][2] *= bottom * columns[0];
        of[i][h][3] *= bottom * columns[1];
      }
    }
  }

  // Adds the products of a slab: of a warp's own rows by step, with the operands [step][group][lane]. What both
  // operands' rounding left is below 2^-22 of their product. Tensor cores cut sums off, towards 0: in a chain of
  // hundreds of them that adds up to more than 1e-5 (measured on an H200), so a slab's begin at 0.
  template <class Operands>
  __device__ void add(const Partners& partners, const Rows16 (&own)[kSteps], const Operands& operands) {
    const int lane = laneOf();
#pragma unroll
    for (int i = 0; i < kPartners; ++i) {
      if (i >= partners.count()) break;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float ofSlab[4] = {};
#pragma unroll
        for (int k = 0; k < kSteps; ++k) {
          const Operand other = operands[k][2 * partners.block(i) + h][lane];
          multiplyAdd(ofSlab, own[k].low, other.high);
          multiplyAdd(ofSlab, own[k].high, other.low);
          multiplyAdd(ofSlab, own[k].high, other.high);
        }
#pragma unroll
        for (int c = 0; c < 4; ++c) of[i][h][c] += ofSlab[c];
      }
    }
  }

  // The accumulators are written as a triangle [N(N + 1)/2].
  __device__ void write(const Partners& partners, int positions, float* triangle) const {
    // What a sum of products of operands is to be multiplied by.
    constexpr float kSumScale = 1 / (kOperandScale * kOperandScale);
    const int lane = laneOf();
#pragma unroll
    for (int i = 0; i < kPartners; ++i) {
      if (i >= partners.count()) break;
#pragma unroll
      for (int at = 0; at < 8; ++at) {
        const int h = at / 4, c = at % 4;
        const int row = kBlock * partners.warp + lane / 4 + kGroup * (c / 2);
        const int column = kBlock * partners.block(i) + kGroup * h + lane % 4 * 2 + c % 2;
        if ((i == 0 && row > column) || max(row, column) >= positions) continue;
        triangle[pairOf(min(row, column), max(row, column), positions)] = of[i][h][c] * kSumScale;
      }
    }
  }

 private:
  // The place of the pair i ≤ j in a triangle.
  static __device__ int pairOf(int i, int j, int positions) { return i * (2 * positions - i - 1) / 2 + j; }
};

// Pointers to a state's rows, into shared memory.
__device__ void findRows(const Logits& z, int state, const void** rows) {
  const int64_t first = static_cast<int64_t>(state) * z.positions;
  const int64_t bytes = z.rowStride * (z.type == kernels::LogitsType::float32 ? 4 : 2);
  for (int i = static_cast<int>(threadIdx.x); i < z.positions; i += static_cast<int>(blockDim.x)) {
    rows[i] = static_cast<const char*>(z.data) + z.rowOf[first + i] * bytes;
  }
}

// Each block reads one tile of a state of up to 16·kBlocks positions.
template <class Element, bool kAligned, bool kTempered, int kBlocks>
__global__ void __launch_bounds__(kBlocks* kWarp, kBlocks > 5 ? 2 : 3)
    passKernel(const Logits z, const float inverse, const TileTable out) {
  constexpr int kRows = kBlock * kBlocks, kPartners = kBlocks / 2 + 1;
  __shared__ const void* pointers[kRows];
  __shared__ Exponent exponents[kRows];
  __shared__ float scales[2][kRows];  // of this slab and, for warps still at it, of the one before
  __shared__ Operand operands[2][kSteps][2 * kBlocks][kWarp];

  const int tiles = z.tiles(), N = z.positions;
  const int state = static_cast<int>(blockIdx.x) / tiles, tile = static_cast<int>(blockIdx.x) % tiles;
  const int lane = laneOf();
  const Partners partners = {static_cast<int>(threadIdx.x) / kWarp, static_cast<int>(blockDim.x) / kWarp};
  const int begin = tile * kTile, end = min(begin + kTile, z.vocab);
  findRows(z, state, pointers);
  for (unsigned i = threadIdx.x; i < kRows; i += blockDim.x) exponents[i] = Exponent::nothing();
  __syncthreads();

  const Rows<Element, kAligned> rows = {pointers, N, end, z.type};
  Row<Element, kTempered> row[2];
  Four<Element> logits[2][kSteps];
  Sums<kPartners> sums;
  const int firstRow = kBlock * partners.warp + lane / 4;
  const auto rowOf = [&](int r) { return firstRow + kGroup * r; };
  const auto read = [&](int column) {
#pragma unroll
    for (int r = 0; r < 2; ++r) rows.read(logits[r], rowOf(r), column);
  };
  // What comes next is under way where there are registers for it.
  constexpr bool kReadsAhead = kAligned && (sizeof(Element) == 2 || kBlocks <= 5);
  if constexpr (kReadsAhead) read(begin);
  for (int column = begin; column < end; column += kSlab) {
    if constexpr (!kReadsAhead) read(column);
    const int buffer = column / kSlab % 2;
    bool isDue = false;
#pragma unroll
    for (int r = 0; r < 2; ++r) isDue = row[r].isDue(logits[r], exponents[rowOf(r)]) || isDue;
    isDue = __any_sync(kAllLanes, isDue);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float scale = isDue ? row[r].raise(exponents[rowOf(r)], inverse) : 1;
      if (lane % 4 == 0) scales[buffer][rowOf(r)] = scale;
    }
    __syncwarp();
    Rows16 own[kSteps];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Exponent exponent = exponents[rowOf(r)];
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        const Operand operand = row[r].exponentiate(logits[r][k], exponent, inverse);
        operands[buffer][k][2 * partners.warp + r][lane] = operand;
        own[k].set(r, operand);
      }
    }
    if constexpr (kReadsAhead) read(column + kSlab);
    if (__syncthreads_or(isDue)) sums.rescale(partners, scales[buffer]);
    sums.add(partners, own, operands[buffer]);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    row[r].gather();
    if (lane % 4 != 0 || rowOf(r) >= N) continue;
    row[r].write(out, (static_cast<int64_t>(state) * N + rowOf(r)) * tiles + tile, exponents[rowOf(r)].value());
  }
  sums.write(partners, N, out.gram + static_cast<int64_t>(blockIdx.x) * z.pairs());
}

template <class Element, bool kAligned, bool kTempered>
cudaError_t launchPass(const Logits& z, float inverse, const TileTable& tiles, cudaStream_t stream) {
  const auto kernel = z.positions <= 80 ? passKernel<Element, kAligned, kTempered, 5>
                                        : passKernel<Element, kAligned, kTempered, kMaxPositions / kBlock>;
  const unsigned threads = blocksFor(z.positions, kBlock) * kWarp;
  return FKINV_LAUNCH(kernel, static_cast<unsigned>(z.states * z.tiles()), threads, 0, stream, z, inverse, tiles);
}

template <class Element, bool kAligned>
cudaError_t launchPass(const Logits& z, double temperature, const TileTable& tiles, cudaStream_t stream) {
  // At τ = 0 no draw asks for weights.
  if (temperature == 0 || temperature == 1) return launchPass<Element, kAligned, false>(z, 1.0f, tiles, stream);
  return launchPass<Element, kAligned, true>(z, static_cast<float>(1 / temperature), tiles, stream);
}

}  // namespace

cudaError_t launch(const ops::Pass& op, cudaStream_t stream) {
  const Logits& z = op.z;
  if (z.positions > kMaxPositions || op.tiles.chunkTiles != kChunkTiles) return cudaErrorInvalidValue;
  return withElement(z.type, [&](auto element) {
    using Element = decltype(element);
    constexpr int kPerLoad = 16 / sizeof(Element);
    const bool isAligned =
        reinterpret_cast<uintptr_t>(z.data) % 16 == 0 && z.rowStride % kPerLoad == 0 && z.vocab % kPerLoad == 0;
    return isAligned ? launchPass<Element, true>(z, op.temperature, op.tiles, stream)
                     : launchPass<float, false>(z, op.temperature, op.tiles, stream);
  });
}

}  // namespace fkinv::cuda
