// What the checks of cuda_check share: how they fail, arrays that kernels work on, and results that must not depend on
// the order of threads nor on what memory began as.
#pragma once
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "machine.h"

namespace fkinv::cuda::check {

struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string format(const char* format, ...) __attribute__((format(printf, 1, 2)));

inline void expect(bool holds, const std::string& what) {
  if (!holds) throw Failed(what);
}

/// A launcher's status.
inline void expect(cudaError_t status, const std::string& what) {
  expect(status == cudaSuccess, what + ": status " + std::to_string(status));
}

inline bool isClose(double actual, double expected, double relative, double absolute) {
  return actual == expected || (std::isnan(actual) && std::isnan(expected)) ||
         std::fabs(actual - expected) <= relative * std::fabs(expected) + absolute;
}

/// Each of `actual` within the tolerances, added.
template <class A, class B>
void expectClose(const std::vector<A>& actual, const std::vector<B>& expected, double relative, double absolute,
                 const std::string& what) {
  expect(actual.size() == expected.size(), what + ": length");
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const auto a = static_cast<double>(actual[i]), b = static_cast<double>(expected[i]);
    expect(isClose(a, b, relative, absolute), what + format("[%zu] is %.9g, not %.9g", i, a, b));
  }
}

template <class T>
void expectEqual(const std::vector<T>& actual, const std::vector<T>& expected, const std::string& what) {
  expectClose(actual, expected, 0, 0, what);
}

/// Device memory; what is not copied into it is poisoned.
template <class T>
class Array {
 public:
  explicit Array(std::size_t size) : size_(size), data_(static_cast<T*>(allocate(size * sizeof(T)))) {}
  explicit Array(const std::vector<T>& host) : Array(host.size()) {
    if (size_ > 0) std::memcpy(data_, host.data(), size_ * sizeof(T));
  }
  Array(const Array&) = delete;
  ~Array() { release(data_); }

  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::vector<T> host() const {
    settle();
    return {data_, data_ + size_};
  }

 private:
  const std::size_t size_;
  T* const data_;
};

/// Named results, to be read and to be compared bit by bit.
class Results {
 public:
  template <class T>
  void add(const std::string& name, const Array<T>& array) {
    add(name, array.data(), array.size());
  }
  template <class T>
  void add(const std::string& name, const T* first, std::size_t count) {
    settle();
    const auto* bytes = reinterpret_cast<const std::byte*>(first);
    all_.emplace_back(name, std::vector<std::byte>(bytes, bytes + count * sizeof(T)));
  }
  template <class T>
  std::vector<T> get(const std::string& name) const {
    for (const auto& [its, bytes] : all_) {
      if (its != name) continue;
      std::vector<T> values(bytes.size() / sizeof(T));
      if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
      return values;
    }
    throw Failed("no result " + name);
  }
  /// The first that is not bitwise the same there; empty where there is none.
  std::string differing(const Results& other) const;

 private:
  std::vector<std::pair<std::string, std::vector<std::byte>>> all_;
};

/// What `run` gives, which in other orders and over memory of another pattern is the same.
template <class Run>
Results settled(const std::string& of, int orders, Run run) {
  configure(0, 0x00);
  const Results first = run();
  for (int order = 1; order < orders; ++order) {
    configure(static_cast<uint64_t>(order), order % 2 == 0 ? 0x00 : 0xff);
    const std::string name = first.differing(run());
    expect(name.empty(), of + ": " + name + " depends on the order of the threads or on what memory began as");
  }
  return first;
}

/// Shapes and counts of a check: few in a minute, or all.
struct Extent {
  bool isWhole;
};

/// The golden cases as check.ts writes them: float64 after float64.
class Numbers {
 public:
  explicit Numbers(const std::string& file);
  double next() { return next(1)[0]; }
  std::vector<double> next(std::size_t count);
  std::size_t nextCount() { return static_cast<std::size_t>(next()); }

 private:
  std::vector<double> all_;
  std::size_t at_ = 0;
};

// The checks.
void checkSimilarity(const Extent&);
void checkDraws(const Extent&);
void checkParticles(const Extent&);
void checkGoldenCoupling(Numbers&);
void checkGoldenPotentials(Numbers&);
void checkGoldenResampling(Numbers&);

}  // namespace fkinv::cuda::check
