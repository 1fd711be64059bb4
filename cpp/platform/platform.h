// What differs between operating systems, and the C++ library does not cover: platform_posix.cpp, platform_windows.cpp.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

namespace fkinv::platform {

/// Opens a shared library, which stays open until the process ends, and finds its neighbours beside it. Throws
/// std::runtime_error with the system's reason, which names the path.
void* openLibrary(const std::filesystem::path& path);

/// Keeps the loader from taking an open library for another one of the same name: from then on what asks for that name
/// gets the file beside it, as it would without us. Systems whose loader goes by paths need nothing done; on Windows,
/// whose loader goes by names, nothing can be.
void yieldName(void* library);

/// The address of `name` in a library that is open; null where it has none.
void* findSymbol(void* library, const char* name);

/// The file that the code or data at `address` was loaded from, by the path it was opened by; empty where that cannot
/// be told.
std::filesystem::path fileOf(const void* address);

/// Keeps the library that this code is linked into loaded until the process ends.
void pinOwnLibrary();

/// Sets an environment variable of the process, unless it is set.
void setDefaultVariable(const char* name, const char* value);

/// A thread with a stack of 8 MiB, whatever the system's default is: musl gives 128 KiB and macOS 512 KiB, and how much
/// ONNX Runtime takes, which runs on our threads, it does not say. Memory is used only as far as the stack grows.
class Thread {
 public:
  /// Throws std::system_error where the system gives no more threads. `body` must not throw.
  explicit Thread(std::function<void()> body);
  /// join() must have been called.
  ~Thread();
  Thread(Thread&&) noexcept;
  Thread& operator=(Thread&&) = delete;

  void join();

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

/// A lock on a file that is there. One FileLock at a time has it, of all processes; the system frees it with the
/// process, however that ends.
class FileLock {
 public:
  /// Throws std::system_error where the file cannot be opened, or cannot be locked at all.
  explicit FileLock(const std::filesystem::path& path);
  /// Frees it.
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// Whether this one has it. One on a file that was replaced under its path in the meantime has nothing.
  [[nodiscard]] bool isHeld() const { return handle_ != nullptr; }

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

/// Paths cross our boundaries in UTF-8, also where the system's own are of another encoding.
inline std::filesystem::path toPath(const std::string& utf8) { return std::u8string(utf8.begin(), utf8.end()); }
inline std::string toUtf8(const std::filesystem::path& path) {
  const std::u8string utf8 = path.u8string();
  return {utf8.begin(), utf8.end()};
}

}  // namespace fkinv::platform
