// The engine's one error type.
#pragma once
#include <stdexcept>
#include <string>

namespace fkinv {

/// `code` is one of those in lib/errors.ts; the message says what was wrong, where, and what to do.
class Error : public std::runtime_error {
 public:
  Error(const char* errorCode, const std::string& message) : std::runtime_error(message), code(errorCode) {}
  const char* code;
};

}  // namespace fkinv
