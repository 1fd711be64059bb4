#include "check.h"

#include <cstdarg>
#include <cstdio>
#include <fstream>

namespace fkinv::cuda::check {

std::string format(const char* format, ...) {
  char buffer[400];
  va_list values;
  va_start(values, format);
  std::vsnprintf(buffer, sizeof buffer, format, values);
  va_end(values);
  return buffer;
}

std::string Results::differing(const Results& other) const {
  for (std::size_t i = 0; i < all_.size(); ++i) {
    if (all_[i].second != other.all_[i].second) return all_[i].first;
  }
  return "";
}

Numbers::Numbers(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  for (double number; in.read(reinterpret_cast<char*>(&number), sizeof number);) all_.push_back(number);
}

std::vector<double> Numbers::next(std::size_t count) {
  expect(at_ + count <= all_.size(), "the file of the golden cases ends early");
  const auto first = all_.begin() + static_cast<int64_t>(at_);
  at_ += count;
  return {first, first + static_cast<int64_t>(count)};
}

}  // namespace fkinv::cuda::check
