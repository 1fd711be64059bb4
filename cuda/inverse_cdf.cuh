// One level of a draw by inverse CDF, by one warp: weights in their order, summed in float64.
#pragma once
#include "common.cuh"

namespace fkinv::cuda {

/// Consecutive weights that a lane adds up by itself.
inline constexpr int kRun = 8;
inline constexpr int kRuns = kWarp * kRun;  // what a warp adds up at once

/// Σ weightOf(j), j < n: runs, of those the sums up to each lane, and the sums of 32 runs, one after the other.
template <class WeightOf>
__device__ double sumOf(int n, WeightOf weightOf) {
  double sum = 0;
  for (int begin = 0; begin < n; begin += kRuns) {
    const int first = begin + laneOf() * kRun, end = min(first + kRun, n);
    double run = 0;
    for (int j = first; j < end; ++j) run += static_cast<double>(weightOf(j));
    sum += __shfl_sync(kAllLanes, sumUpToLane(run), kWarp - 1);
  }
  return sum;
}

/// The first j whose running sum exceeds `target`; where rounding leaves none, the last of positive weight; 0 where
/// there is no such. The sums are those of sumOf().
template <class WeightOf>
__device__ int pick(int n, double target, WeightOf weightOf) {
  double before = 0;  // the sum up to this group of runs
  int last = 0;       // of positive weight in this lane's runs
  for (int begin = 0; begin < n; begin += kRuns) {
    const int first = begin + laneOf() * kRun, end = min(first + kRun, n);
    double run = 0;
    for (int j = first; j < end; ++j) {
      const float weight = weightOf(j);
      run += static_cast<double>(weight);
      if (weight > 0) last = j;
    }
    const double upTo = before + sumUpToLane(run), below = __shfl_up_sync(kAllLanes, upTo, 1);
    // Sums up to two lanes are rounded apart, so a run of nothing may seem to add something.
    const int reaching = smallestOfWarp(run > 0 && upTo > target ? laneOf() : kWarp);
    if (reaching < kWarp) {
      double sum = laneOf() == 0 ? before : below;
      int found = last;  // stands where the run's sum and the running one are rounded apart
      for (int j = first; j < end; ++j) {
        sum += static_cast<double>(weightOf(j));
        if (sum > target) {
          found = j;
          break;
        }
      }
      return __shfl_sync(kAllLanes, found, reaching);
    }
    before = __shfl_sync(kAllLanes, upTo, kWarp - 1);
  }
  return largestOfWarp(last);
}

}  // namespace fkinv::cuda
