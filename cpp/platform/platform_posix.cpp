// Linux (glibc and musl) and macOS.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <link.h>
#endif

#include <cerrno>
#include <cstdint>
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

#if defined(__GLIBC__)

namespace {

/// The first and the last byte of a library that become read-only once it is relocated.
struct ReadOnly {
  ElfW(Addr) base, first, last;
};

int findReadOnly(dl_phdr_info* info, std::size_t, void* data) {
  auto& found = *static_cast<ReadOnly*>(data);
  if (info->dlpi_addr != found.base) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_GNU_RELRO) continue;
    found.first = info->dlpi_addr + segment.p_vaddr;
    found.last = found.first + segment.p_memsz - 1;
  }
  return 1;
}

}  // namespace

// glibc takes any library of the process whose DT_SONAME is the name that is looked for. Ours becomes the empty name,
// which is what offset 0 of every string table is: in this process's memory, never in the file.
void yieldName(void* library) {
  link_map* map = nullptr;
  if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0) return;
  auto* entry = map->l_ld;
  while (entry->d_tag != DT_NULL && entry->d_tag != DT_SONAME) ++entry;
  if (entry->d_tag != DT_SONAME || entry->d_un.d_val == 0) return;
  ReadOnly readOnly = {map->l_addr, 0, 0};
  dl_iterate_phdr(&findReadOnly, &readOnly);
  const auto address = reinterpret_cast<ElfW(Addr)>(entry);
  const bool isReadOnly = readOnly.first <= address && address <= readOnly.last;
  const auto page = static_cast<ElfW(Addr)>(sysconf(_SC_PAGESIZE));
  char* const start = reinterpret_cast<char*>(entry) - address % page;
  const std::size_t bytes = address % page + sizeof *entry;
  if (isReadOnly && mprotect(start, bytes, PROT_READ | PROT_WRITE) != 0) return;
  entry->d_un.d_val = 0;
  if (isReadOnly) mprotect(start, bytes, PROT_READ);
}

#else

void yieldName(void*) {}

#endif

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
  // Closing the file alone would not free the lock while a process that was forked meanwhile has the file too, which it
  // does until it runs its program.
  ~Handle() {
    flock(file, LOCK_UN);
    close(file);
  }
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
