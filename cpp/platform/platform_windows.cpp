// Windows.
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "platform.h"

namespace fkinv::platform {
namespace {

constexpr const char* kLacksAnother =
    " The file is there, but a library that it needs is not: Microsoft's Visual C++ Redistributable has the usual ones";

// The system's words for an error, in UTF-8 and without the end of line it gives them.
std::string describe(DWORD error) {
  wchar_t words[512];
  const DWORD flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS;
  DWORD size = FormatMessageW(flags, nullptr, error, 0, words, static_cast<DWORD>(std::size(words)), nullptr);
  while (size > 0 && (words[size - 1] == L'\n' || words[size - 1] == L'\r')) --size;
  char utf8[4 * std::size(words)];
  const int bytes = WideCharToMultiByte(CP_UTF8, 0, words, static_cast<int>(size), utf8, static_cast<int>(sizeof utf8),
                                        nullptr, nullptr);
  return std::string(utf8, static_cast<std::size_t>(bytes)) + " (error " + std::to_string(error) + ")";
}

}  // namespace

void* openLibrary(const std::filesystem::path& path) {
  // The altered search starts in the library's own folder; it is defined for absolute paths only.
  const std::filesystem::path absolute = std::filesystem::absolute(path);
  const HMODULE library = LoadLibraryExW(absolute.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (library != nullptr) return library;
  const DWORD error = GetLastError();
  const bool isAnother = error == ERROR_MOD_NOT_FOUND && std::filesystem::exists(absolute);
  throw std::runtime_error(toUtf8(path) + ": " + describe(error) + (isAnother ? kLacksAnother : ""));
}

void yieldName(void*) {}

void* findSymbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

std::filesystem::path fileOf(const void* address) {
  HMODULE module;
  constexpr DWORD kFlags = GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
  if (!GetModuleHandleExW(kFlags, static_cast<const wchar_t*>(address), &module)) return "";
  wchar_t file[32768];
  return std::filesystem::path(file, file + GetModuleFileNameW(module, file, static_cast<DWORD>(std::size(file))));
}

void pinOwnLibrary() {
  HMODULE self;
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                     reinterpret_cast<const wchar_t*>(&pinOwnLibrary), &self);
}

void setDefaultVariable(const char* name, const char* value) {
  const bool isUnset = GetEnvironmentVariableA(name, nullptr, 0) == 0 && GetLastError() == ERROR_ENVVAR_NOT_FOUND;
  if (isUnset) SetEnvironmentVariableA(name, value);
}

// The default is what the program was linked with, and node.exe is with 8 MiB.
struct Thread::Handle {
  std::thread thread;
};

Thread::Thread(std::function<void()> body) : handle_(new Handle{std::thread(std::move(body))}) {}
Thread::~Thread() = default;
Thread::Thread(Thread&&) noexcept = default;

void Thread::join() { handle_->thread.join(); }

struct FileLock::Handle {
  explicit Handle(HANDLE opened) : file(opened) {}
  ~Handle() { CloseHandle(file); }  // which frees the lock
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  const HANDLE file;
};

FileLock::FileLock(const std::filesystem::path& path) {
  const auto fail = [] { throw std::system_error(static_cast<int>(GetLastError()), std::system_category()); };
  constexpr DWORD kShared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  const HANDLE file = CreateFileW(path.c_str(), GENERIC_READ | GENERIC_WRITE, kShared, nullptr, OPEN_EXISTING,
                                  FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) fail();
  auto handle = std::make_unique<Handle>(file);
  // A byte that no file has: locks of Windows keep others from what they are on.
  OVERLAPPED at = {};
  at.OffsetHigh = 0x40000000;
  if (LockFileEx(file, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)) {
    handle_ = std::move(handle);
  } else if (GetLastError() != ERROR_LOCK_VIOLATION && GetLastError() != ERROR_IO_PENDING) {
    fail();
  }
}

FileLock::~FileLock() = default;

}  // namespace fkinv::platform
