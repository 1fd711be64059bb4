// JavaScript arguments as C++ values. lib/ has validated them: what does not fit here is a mistake of ours, a
// TypeError.
#pragma once
#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace fkinv::binding {

namespace detail {

inline void expect(Napi::Env env, bool fits, const char* what) {
  if (!fits) throw Napi::TypeError::New(env, std::string("fkinv-native addon: expected ") + what);
}

template <class T>
constexpr napi_typedarray_type typedArrayType() {
  if constexpr (std::is_same_v<T, float>) return napi_float32_array;
  if constexpr (std::is_same_v<T, double>) return napi_float64_array;
  if constexpr (std::is_same_v<T, int32_t>) return napi_int32_array;
  if constexpr (std::is_same_v<T, uint32_t>) return napi_uint32_array;
  if constexpr (std::is_same_v<T, uint16_t>) return napi_uint16_array;
  if constexpr (std::is_same_v<T, uint8_t>) return napi_uint8_array;
  if constexpr (std::is_same_v<T, int64_t>) return napi_bigint64_array;
  if constexpr (std::is_same_v<T, uint64_t>) return napi_biguint64_array;
}

}  // namespace detail

inline double toDouble(Napi::Value value) {
  detail::expect(value.Env(), value.IsNumber(), "a number");
  return value.As<Napi::Number>().DoubleValue();
}
inline int toInt(Napi::Value value) {
  detail::expect(value.Env(), value.IsNumber(), "a number");
  return value.As<Napi::Number>().Int32Value();
}
inline bool toBool(Napi::Value value) {
  detail::expect(value.Env(), value.IsBoolean(), "a boolean");
  return value.As<Napi::Boolean>().Value();
}
inline std::string toString(Napi::Value value) {
  detail::expect(value.Env(), value.IsString(), "a string");
  return value.As<Napi::String>().Utf8Value();
}

/// The values of a typed array, in place: for synchronous calls only.
template <class T>
std::span<const T> toSpan(Napi::Value value) {
  detail::expect(value.Env(), value.IsTypedArray(), "a typed array");
  const auto array = value.As<Napi::TypedArray>();
  detail::expect(value.Env(), array.TypedArrayType() == detail::typedArrayType<T>(), "another typed array");
  const auto typed = array.As<Napi::TypedArrayOf<T>>();
  return {typed.Data(), typed.ElementLength()};
}

/// A copy: JavaScript may change or transfer its buffer while a job runs.
template <class T>
std::vector<T> toVector(Napi::Value value) {
  const std::span<const T> span = toSpan<T>(value);
  return {span.begin(), span.end()};
}

inline Napi::Object toObject(Napi::Value value) {
  detail::expect(value.Env(), value.IsObject(), "an object");
  return value.As<Napi::Object>();
}

/// The named values of an object. Each name that is asked for must be there, and none other may: a name that one side
/// spells otherwise than the other is an error, not a value left out.
class Fields {
 public:
  explicit Fields(Napi::Value value) : object_(toObject(value)) {}

  Napi::Value operator[](const char* name) {
    const Napi::Value value = object_.Get(name);
    detail::expect(object_.Env(), !value.IsUndefined(), (std::string("a value named ") + name).c_str());
    ++asked_;
    return value;
  }
  /// Fails where the object has a name that was not asked for: call it once all were.
  void expectNoOther() const {
    const Napi::Array names = object_.GetPropertyNames();
    detail::expect(object_.Env(), names.Length() == asked_, "no other names than those it knows");
  }

 private:
  Napi::Object object_;
  uint32_t asked_ = 0;
};

/// The value of an enumeration that JavaScript gives by its name; `names` has them in the enumeration's order.
template <class Enum, std::size_t count>
Enum toEnum(Napi::Value value, const char* const (&names)[count]) {
  const std::string name = toString(value);
  std::string all;
  for (std::size_t i = 0; i < count; ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
    all += (i > 0 ? ", " : "") + std::string(names[i]);
  }
  detail::expect(value.Env(), false, ("one of " + all).c_str());
  return {};
}

/// The native object behind an instance of `Class`.
template <class Class>
Class& unwrap(Napi::Value value) {
  const Napi::Object object = toObject(value);
  detail::expect(value.Env(), object.CheckTypeTag(&Class::kTag), Class::kName);
  return *Class::Unwrap(object);
}

template <class T>
Napi::TypedArrayOf<T> toTypedArray(Napi::Env env, std::span<const T> values) {
  auto array = Napi::TypedArrayOf<T>::New(env, values.size(), detail::typedArrayType<T>());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}
template <class T>
Napi::TypedArrayOf<T> toTypedArray(Napi::Env env, const std::vector<T>& values) {
  return toTypedArray(env, std::span<const T>(values));
}

}  // namespace fkinv::binding
