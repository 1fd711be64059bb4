// Linux (glibc and musl) and macOS.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "platform.h"

namespace fkinv::platform {

void* openLibrary(const std::filesystem::path& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  return library;
}

void* findSymbol(void* library, const char* name) { return dlsym(library, name); }

std::filesystem::path fileOf(const void* address) {
  Dl_info file;
  return dladdr(address, &file) != 0 ? file.dli_fname : "";
}

void pinOwnLibrary() {
  const std::filesystem::path self = fileOf(reinterpret_cast<void*>(&pinOwnLibrary));
  if (!self.empty()) dlopen(self.c_str(), RTLD_NOW | RTLD_NODELETE);
}

void setDefaultVariable(const char* name, const char* value) { setenv(name, value, 0); }

namespace {

using Body = std::function<void()>;

constexpr std::size_t kStackBytes = std::size_t{8} << 20;

void* runBody(void* body) {
  (*std::unique_ptr<Body>(static_cast<Body*>(body)))();
  return nullptr;
}

}  // namespace

struct Thread::Handle {
  pthread_t thread;
};

Thread::Thread(Body body) : handle_(std::make_unique<Handle>()) {
  auto owned = std::make_unique<Body>(std::move(body));
  pthread_attr_t attributes;
  int fault = pthread_attr_init(&attributes);
  if (fault == 0) {
    fault = pthread_attr_setstacksize(&attributes, kStackBytes);
    if (fault == 0) fault = pthread_create(&handle_->thread, &attributes, &runBody, owned.get());
    pthread_attr_destroy(&attributes);
  }
  if (fault != 0) throw std::system_error(fault, std::generic_category(), "a thread could not be started");
  static_cast<void>(owned.release());  // the thread's now
}

Thread::~Thread() = default;
Thread::Thread(Thread&&) noexcept = default;

void Thread::join() { pthread_join(handle_->thread, nullptr); }

struct FileLock::Handle {
  explicit Handle(int opened) : file(opened) {}
  ~Handle() { close(file); }  // which frees the lock
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  const int file;
};

FileLock::FileLock(const std::filesystem::path& path) {
  const auto fail = [] { throw std::system_error(errno, std::generic_category()); };
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file == -1) fail();
  auto handle = std::make_unique<Handle>(file);
  if (flock(file, LOCK_EX | LOCK_NB) == -1) {
    if (errno != EWOULDBLOCK) fail();
    return;
  }
  struct stat locked = {}, named = {};
  const bool isThere = fstat(file, &locked) == 0 && stat(path.c_str(), &named) == 0;
  if (isThere && locked.st_dev == named.st_dev && locked.st_ino == named.st_ino) handle_ = std::move(handle);
}

FileLock::~FileLock() = default;

}  // namespace fkinv::platform
