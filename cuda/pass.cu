// K1 (kernels/pass.h), the one read of the logits. In the log2 domain, for each row and each tile of 1024 columns, with
// an integer m: x = z·log2e − m ≤ 3, mass Σ 2^x, moment Σ x·2^x, weight Σ 2^(x/τ), and the largest z; for each two rows
// of a state and each chunk of four tiles Σ 2^(x_i + x_j), by the largest m that they have there.
//
// z [Q, N, V]; the table's tiles [Q·N, ⌈V/1024⌉]; the Gram [Q, ⌈V/4096⌉, N(N + 1)/2].
// Grid Q·⌈V/4096⌉, four warps a block. A warp reads 16 columns at a time of every row, four a lane, such that one load
// of the logits becomes the operand of mma as its A and as its B (instructions.cuh); whatever is summed, is in an order
// that depends on nothing else. N ≤ 80: a warp has a tile, and all sums of its Gram in registers; shared memory, 21 KB
// at most, has the rows' addresses and exponents, and at the end the sum of the four Grams. N > 80: passShared() below,
// 21 KB.
//
// Tensor cores take float16. An exponential, times 2^8, is the sum of two of those, and a product of two exponentials
// is high·high + high·low + low·high: S is then as good as in float32, within 1e-5. With one float16 each, a third of
// the work, an entry is off by up to 2^-10, μ by more than 1e-4 where few tokens have all the probability.
//
// N = 77, V = 126464, float16, a state: reads 19.5 MB, writes 0.6 MB; 9.7 M exponentials; 2.9 GFLOP on tensor cores (30
// tiles of 16 × 8 sums, three products each). Floors, computed and not measured: A6000 25 µs for the logits (768 GB/s),
// 19 µs for the products (155 TFLOP/s); H100 5.8 µs (3.35 TB/s) and 2.9 µs (990 TFLOP/s). N = 128: 32.4 MB and 7.0
// GFLOP; A6000 42 µs and 45 µs, H100 9.7 µs and 7.1 µs.
#include <cstring>
#include <type_traits>

#include "common.cuh"
#include "instructions.cuh"

namespace fkinv::cuda {
namespace {

constexpr int kWarps = kChunk;  // of a block: one for each tile of its chunk
constexpr int kThreads = kWarps * kWarp;
constexpr int kStep = 16;   // columns that a warp reads at a time, four a lane
constexpr int kGroup = 8;   // rows that a warp reads at a time, four lanes each
constexpr float kLazy = 3;  // how far a row may grow past its exponent before that follows
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

// Of the first and of the last two.
__device__ float2 widened(const Four<float>& z, int half) {
  return {bitsAs<float>(z.words[2 * half]), bitsAs<float>(z.words[2 * half + 1])};
}
__device__ float2 widened(const Four<__half>& z, int half) { return __half22float2(bitsAs<__half2>(z.words[half])); }
__device__ float2 widened(const Four<__nv_bfloat16>& z, int half) {
  return __bfloat1622float2(bitsAs<__nv_bfloat162>(z.words[half]));
}

// The rows of a state; −inf beyond their end, and in rows that it has not. Where a row's columns are not aligned by
// fours they are read one by one, and widened: Element is float whatever is stored.
template <class Element, bool kAligned>
struct Rows {
  static_assert(kAligned || std::is_same_v<Element, float>);
  const void* const* of;  // [positions] in shared memory
  int positions, end;
  kernels::LogitsType type;

  // Four columns from `column` on of rows `first`, `first + rowStep` …
  template <int kCount>
  __device__ void read(Four<Element> (&to)[kCount], int first, int rowStep, int column) const {
    if constexpr (kAligned) {
#pragma unroll
      for (int k = 0; k < kCount; ++k) to[k] = load(first + k * rowStep, column);
    } else if (type == kernels::LogitsType::float32) {
      readEach<float>(to, first, rowStep, column);
    } else if (type == kernels::LogitsType::float16) {
      readEach<__half>(to, first, rowStep, column);
    } else {
      readEach<__nv_bfloat16>(to, first, rowStep, column);
    }
  }

 private:
  __device__ Four<Element> load(int row, int column) const {
    Four<Element> four;
    for (uint32_t& word : four.words) word = kMinusInfinityBits<Element>;
    if (row >= positions || column >= end) return four;
    const Element* at = static_cast<const Element*>(of[row]) + column;
    if constexpr (sizeof(Element) == 4) {
      const uint4 loaded = __ldcs(reinterpret_cast<const uint4*>(at));
      return {{loaded.x, loaded.y, loaded.z, loaded.w}};
    } else {
      const uint2 loaded = __ldcs(reinterpret_cast<const uint2*>(at));
      return {{loaded.x, loaded.y}};
    }
  }

  template <class Stored, int kCount>
  __device__ void readEach(Four<float> (&to)[kCount], int first, int rowStep, int column) const {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const int row = first + k * rowStep;
      const bool isRow = row < positions;
      const Stored* at = static_cast<const Stored*>(of[isRow ? row : 0]) + column;
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float z = isRow && column + c < end ? widen(__ldg(at + c)) : kMinusInfinity;
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

  __device__ bool isDue(const Four<Element>& z, const Exponent& exponent) {
    max = fmaxf(max, largest(z));
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

// A warp's sums of a part of the Gram: kBlocks blocks of 16 rows by kGroups groups of 8 columns, or of a square the
// tiles on and above the diagonal. A lane has a tile's columns 2t, 2t + 1 of row g, then of row g + 8
// (instructions.cuh).
template <int kBlocks, int kGroups, bool kTriangle>
struct Part {
  static_assert(!kTriangle || kGroups == 2 * kBlocks);
  static constexpr int kTiles = kTriangle ? kBlocks * (kBlocks + 1) : kBlocks * kGroups;

  static __device__ constexpr int tileOf(int i, int j) {
    return kTriangle ? i * (kGroups - i - 1) + j : i * kGroups + j;
  }

  // f(tile, block, group)
  template <class F>
  static __device__ void each(F f) {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
      for (int j = kTriangle ? 2 * i : 0; j < kGroups; ++j) f(tileOf(i, j), i, j);
    }
  }

  // left [2·kBlocks], right [kGroups]. What both operands' rounding left is below 2^-22 of their product.
  static __device__ void add(float (*sums)[4], const Operand* left, const Operand* right) {
    each([&](int n, int i, int j) {
      const Operand &top = left[2 * i], &bottom = left[2 * i + 1];
      const uint32_t high[4] = {top.high[0], bottom.high[0], top.high[1], bottom.high[1]};
      const uint32_t low[4] = {top.low[0], bottom.low[0], top.low[1], bottom.low[1]};
      multiplyAdd(sums[n], low, right[j].high);
      multiplyAdd(sums[n], high, right[j].low);
      multiplyAdd(sums[n], high, right[j].high);
    });
  }

  // By the powers of two of this lane's row g of group `r` of the rows, and of group `j` of the columns.
  static __device__ void rescaleRows(float (*sums)[4], int r, float scale) {
    each([&](int n, int i, int) {
      if (i != r / 2) return;
      sums[n][r % 2 * 2] *= scale;
      sums[n][r % 2 * 2 + 1] *= scale;
    });
  }
  static __device__ void rescaleColumns(float (*sums)[4], int group, float scale) {
    const int ofFirst = laneOf() % 4 * 8;  // a lane whose g is 2t
    const float first = __shfl_sync(kAllLanes, scale, ofFirst), second = __shfl_sync(kAllLanes, scale, ofFirst + 4);
    each([&](int n, int, int j) {
      if (j != group) return;
      sums[n][0] *= first;
      sums[n][1] *= second;
      sums[n][2] *= first;
      sums[n][3] *= second;
    });
  }

  // Adds the products of a step to a part that begins at `firstRow` and `firstColumn`, in groups, all from shared
  // memory.
  static __device__ void addShared(float (*sums)[4], const Operand (*operands)[kWarp], const float* scales,
                                   bool isRaised, int firstRow, int firstColumn) {
    const int lane = laneOf();
    if (isRaised) {
#pragma unroll
      for (int r = 0; r < 2 * kBlocks; ++r) rescaleRows(sums, r, scales[kGroup * (firstRow + r) + lane / 4]);
#pragma unroll
      for (int j = 0; j < kGroups; ++j) rescaleColumns(sums, j, scales[kGroup * (firstColumn + j) + lane / 4]);
    }
    Operand right[kGroups];
#pragma unroll
    for (int j = 0; j < kGroups; ++j) right[j] = operands[firstColumn + j][lane];
    if constexpr (kTriangle) {
      add(sums, right, right);
    } else {
      Operand left[2 * kBlocks];
#pragma unroll
      for (int r = 0; r < 2 * kBlocks; ++r) left[r] = operands[firstRow + r][lane];
      add(sums, left, right);
    }
  }

  // f(row, column, sum) of the pairs that this lane has, counted from the part's own first row and column.
  template <class F>
  static __device__ void eachPair(const float (*sums)[4], F f) {
    const int row = laneOf() / 4, column = laneOf() % 4 * 2;
    each([&](int n, int i, int j) {
#pragma unroll
      for (int c = 0; c < 4; ++c) f(16 * i + 8 * (c / 2) + row, kGroup * j + column + c % 2, sums[n][c]);
    });
  }
};

// Where the pair i ≤ j stands in a triangle.
__device__ int pairOf(int i, int j, int positions) { return i * (2 * positions - i - 1) / 2 + j; }

// What a sum of products of operands is to be multiplied by.
constexpr float kSumScale = 1 / (kOperandScale * kOperandScale);

// Pointers to a state's rows, into shared memory.
__device__ void findRows(const Logits& z, int state, const void** rows) {
  const int64_t first = static_cast<int64_t>(state) * z.positions;
  const int64_t bytes = z.rowStride * (z.type == kernels::LogitsType::float32 ? 4 : 2);
  for (int i = static_cast<int>(threadIdx.x); i < z.positions; i += kThreads) {
    rows[i] = static_cast<const char*>(z.data) + z.rowOf[first + i] * bytes;
  }
}

// N ≤ 16·kBlocks: each warp has a tile to itself, and the whole triangle.
template <class Element, bool kAligned, bool kTempered, int kBlocks>
__global__ void __launch_bounds__(kThreads, kBlocks > 2 ? 2 : 4)
    passTiles(const Logits z, const float inverse, const TileTable out) {
  constexpr int kGroups = 2 * kBlocks, kRows = 16 * kBlocks;
  // Logits of 16 bits are few enough registers to have the next step's under way.
  constexpr bool kReadsAhead = sizeof(Element) == 2 && !kTempered;
  using Triangle = Part<kBlocks, kGroups, true>;
  __shared__ const void* pointers[kRows];
  __shared__ Exponent exponentsOfWarps[kWarps][kRows];
  __shared__ double exponentOfTile[kWarps][kRows];
  __shared__ float gram[kRows * (kRows + 1) / 2];

  const int tiles = z.tiles(), N = z.positions;
  const int state = static_cast<int>(blockIdx.x) / chunks(z), chunk = static_cast<int>(blockIdx.x) % chunks(z);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = laneOf(), g = lane / 4;
  const int tile = chunk * kChunk + warp;
  const int begin = tile * kTile, end = min(begin + kTile, z.vocab);
  Exponent* exponents = exponentsOfWarps[warp];
  for (int i = lane; i < kRows; i += kWarp) exponents[i] = Exponent::nothing();
  findRows(z, state, pointers);
  for (int pair = static_cast<int>(threadIdx.x); pair < z.pairs(); pair += kThreads) gram[pair] = 0;
  __syncthreads();

  const Rows<Element, kAligned> rows = {pointers, N, end, z.type};
  Row<Element, kTempered> row[kGroups];
  Four<Element> logits[kGroups];
  float sums[Triangle::kTiles][4] = {};
  const auto read = [&](int column) { rows.read(logits, g, kGroup, column + lane % 4 * 4); };
  if constexpr (kReadsAhead) read(begin);
  for (int column = begin; column < end; column += kStep) {
    if constexpr (!kReadsAhead) read(column);
    bool isDue = false;
#pragma unroll
    for (int r = 0; r < kGroups; ++r) isDue = row[r].isDue(logits[r], exponents[kGroup * r + g]) || isDue;
    if (__any_sync(kAllLanes, isDue)) {
#pragma unroll
      for (int r = 0; r < kGroups; ++r) {
        const float scale = row[r].raise(exponents[kGroup * r + g], inverse);
        if (!__any_sync(kAllLanes, scale != 1)) continue;
        Triangle::rescaleRows(sums, r, scale);
        Triangle::rescaleColumns(sums, r, scale);
      }
    }
    __syncwarp();
    Operand operands[kGroups];
#pragma unroll
    for (int r = 0; r < kGroups; ++r) {
      operands[r] = row[r].exponentiate(logits[r], exponents[kGroup * r + g], inverse);
    }
    if constexpr (kReadsAhead) read(column + kStep);
    __syncwarp();  // keeps ptxas from mixing products with exponentials, for which there are too few registers
    Triangle::add(sums, operands, operands);
  }

  // The chunk's largest exponents, and the sums by them, tile after tile.
#pragma unroll
  for (int r = 0; r < kGroups; ++r) {
    const int i = kGroup * r + g;
    row[r].gather();
    const double m = exponents[i].value();
    if (lane % 4 == 0) exponentOfTile[warp][i] = m;
    if (lane % 4 == 0 && i < N && tile < tiles) {
      row[r].write(out, (static_cast<int64_t>(state) * N + i) * tiles + tile, m);
    }
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kGroups; ++r) {
    const int i = kGroup * r + g;
    double m = exponentOfTile[0][i];
    for (int w = 1; w < kWarps; ++w) m = fmax(m, exponentOfTile[w][i]);
    const float scale = powerOfTwo(static_cast<float>(exponentOfTile[warp][i] - m));
    Triangle::rescaleRows(sums, r, scale);
    Triangle::rescaleColumns(sums, r, scale);
  }
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) {
      Triangle::eachPair(sums, [&](int i, int j, float sum) {
        if (i <= j && j < N) gram[pairOf(i, j, N)] += sum;
      });
    }
    __syncthreads();
  }
  float* to = out.gram + static_cast<int64_t>(blockIdx.x) * z.pairs();
  for (int pair = static_cast<int>(threadIdx.x); pair < z.pairs(); pair += kThreads) to[pair] = gram[pair] * kSumScale;
}

// 80 < N ≤ 128: the warps of a block share a tile's rows, whose exponentials go round through shared memory, and the
// triangle: warps 0 and 1 have the triangles of its upper and its lower 64 rows, 2 and 3 the square of both, by halves.
template <class Element, bool kAligned, bool kTempered>
__global__ void __launch_bounds__(kThreads, 2) passShared(const Logits z, const float inverse, const TileTable out) {
  constexpr int kRows = kMaxPositions, kGroups = kRows / kGroup, kOwn = kGroups / kWarps;
  using Triangle = Part<4, 8, true>;
  using Half = Part<2, 8, false>;
  static_assert(Half::kTiles <= Triangle::kTiles);
  __shared__ const void* pointers[kRows];
  __shared__ Exponent exponents[kRows];
  __shared__ float scales[2][kRows];  // of this step and, for warps still at it, of the one before
  __shared__ Operand operands[2][kGroups][kWarp];

  const int tiles = z.tiles(), N = z.positions;
  const int state = static_cast<int>(blockIdx.x) / chunks(z), chunk = static_cast<int>(blockIdx.x) % chunks(z);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = laneOf(), g = lane / 4;
  const int begin = chunk * kChunk * kTile, end = min(begin + kChunk * kTile, z.vocab);
  findRows(z, state, pointers);
  exponents[threadIdx.x] = Exponent::nothing();
  __syncthreads();

  const Rows<Element, kAligned> rows = {pointers, N, end, z.type};
  Row<Element, kTempered> row[kOwn];
  Four<Element> logits[kOwn];
  float sums[Triangle::kTiles][4] = {};
  const auto groupOf = [&](int k) { return k * kWarps + warp; };
  const auto rowOf = [&](int k) { return kGroup * groupOf(k) + g; };
  const auto read = [&](int column) { rows.read(logits, kGroup * warp + g, kGroup * kWarps, column + lane % 4 * 4); };
  const auto finishTile = [&](int tile) {
#pragma unroll
    for (int k = 0; k < kOwn; ++k) {
      row[k].gather();
      if (lane % 4 == 0 && rowOf(k) < N) {
        row[k].write(out, (static_cast<int64_t>(state) * N + rowOf(k)) * tiles + tile, exponents[rowOf(k)].value());
      }
      row[k] = {};
    }
  };
  for (int column = begin; column < end; column += kStep) {
    read(column);
    const int buffer = column / kStep % 2;
    bool isDue = false;
#pragma unroll
    for (int k = 0; k < kOwn; ++k) isDue = row[k].isDue(logits[k], exponents[rowOf(k)]) || isDue;
    isDue = __any_sync(kAllLanes, isDue);
#pragma unroll
    for (int k = 0; k < kOwn; ++k) {
      const float scale = isDue ? row[k].raise(exponents[rowOf(k)], inverse) : 1;
      if (lane % 4 == 0) scales[buffer][rowOf(k)] = scale;
    }
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kOwn; ++k) {
      operands[buffer][groupOf(k)][lane] = row[k].exponentiate(logits[k], exponents[rowOf(k)], inverse);
    }
    const bool isRaised = __syncthreads_or(isDue);
    if (warp < 2) {
      Triangle::addShared(sums, operands[buffer], scales[buffer], isRaised, 8 * warp, 8 * warp);
    } else {
      Half::addShared(sums, operands[buffer], scales[buffer], isRaised, 4 * (warp - 2), 8);
    }
    if ((column + kStep) % kTile == 0 || column + kStep >= end) finishTile(column / kTile);
  }

  float* to = out.gram + static_cast<int64_t>(blockIdx.x) * z.pairs();
  const auto write = [&](int i, int j, float sum) {
    if (i <= j && j < N) to[pairOf(i, j, N)] = sum * kSumScale;
  };
  if (warp < 2) {
    Triangle::eachPair(sums, [&](int i, int j, float sum) { write(64 * warp + i, 64 * warp + j, sum); });
  } else {
    Half::eachPair(sums, [&](int i, int j, float sum) { write(32 * (warp - 2) + i, 64 + j, sum); });
  }
}

template <class Element, bool kAligned, bool kTempered>
cudaError_t launch(const Logits& z, float inverse, const TileTable& tiles, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(z.states * chunks(z));
  const auto kernel = z.positions <= 16   ? passTiles<Element, kAligned, kTempered, 1>
                      : z.positions <= 32 ? passTiles<Element, kAligned, kTempered, 2>
                      : z.positions <= 80 ? passTiles<Element, kAligned, kTempered, 5>
                                          : passShared<Element, kAligned, kTempered>;
  return FKINV_LAUNCH(kernel, blocks, kThreads, 0, stream, z, inverse, tiles);
}

template <class Element, bool kAligned>
cudaError_t launch(const Logits& z, double temperature, const TileTable& tiles, cudaStream_t stream) {
  // At τ = 0 no draw asks for weights.
  if (temperature == 0 || temperature == 1) return launch<Element, kAligned, false>(z, 1.0f, tiles, stream);
  return launch<Element, kAligned, true>(z, static_cast<float>(1 / temperature), tiles, stream);
}

}  // namespace

cudaError_t pass(const Logits& z, double temperature, const TileTable& tiles, cudaStream_t stream) {
  if (z.positions > kMaxPositions) return cudaErrorInvalidValue;
  return withElement(z.type, [&](auto element) {
    using Element = decltype(element);
    const bool isAligned =
        reinterpret_cast<uintptr_t>(z.data) % (4 * sizeof(Element)) == 0 && z.rowStride % 4 == 0 && z.vocab % 4 == 0;
    return isAligned ? launch<Element, true>(z, temperature, tiles, stream)
                     : launch<float, false>(z, temperature, tiles, stream);
  });
}

}  // namespace fkinv::cuda
