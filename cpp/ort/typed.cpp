#include "typed.h"

#include <algorithm>
#include <cstring>

#include "kernels/narrow.h"

namespace fkinv::ort {
namespace {

template <class T, class Convert>
std::vector<uint8_t> converted(std::span<const double> values, Convert convert) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const T value = convert(values[i]);
    std::memcpy(&bytes[i * sizeof(T)], &value, sizeof(T));
  }
  return bytes;
}

template <class T>
std::vector<uint8_t> cast(std::span<const double> values) {
  return converted<T>(values, [](double value) { return static_cast<T>(value); });
}

constexpr double kLeastFloat16 = -65504;

}  // namespace

std::vector<uint8_t> typed(std::span<const double> values, ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return cast<float>(values);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return converted<uint16_t>(values, [](double value) {
        return kernels::narrowFloat16(static_cast<float>(std::max(value, kLeastFloat16)));
      });
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return cast<int32_t>(values);
    default:
      return cast<int64_t>(values);
  }
}

}  // namespace fkinv::ort
