// Copies between host and device, each counted by what it is for.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "device/device.h"

namespace fkinv {

/// What crosses between host and device, by what it is for: `setUp` before the first step, and where an image is left
/// out; in each step token ids (with which state a particle is in), text ids (with which text a guess has), rewards
/// (with the weights they give), ancestors; and the result.
enum class Copied { setUp, tokenIds, textIds, rewards, ancestors, result };
inline constexpr const char* kCopiedNames[] = {"setUp", "tokenIds", "textIds", "rewards", "ancestors", "result"};
struct Copies {
  struct Bytes {
    int64_t toDevice = 0, toHost = 0;
  };
  std::array<Bytes, std::size(kCopiedNames)> of;
  Bytes& operator[](Copied why) { return of[static_cast<std::size_t>(why)]; }
  /// How often the host waited for the device.
  int waits = 0;
};

class Transfer {
 public:
  explicit Transfer(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  void upload(Copied why, void* to, const void* host, std::size_t bytes) {
    device_->upload(to, host, bytes);
    copies_[why].toDevice += static_cast<int64_t>(bytes);
  }
  template <class T>
  void upload(Copied why, Array<T>& to, const std::vector<T>& host) {
    upload(why, to.data(), host.data(), host.size() * sizeof(T));
  }
  template <class T>
  Array<T> onDevice(Copied why, const std::vector<T>& host) {
    Array<T> array(device_, host.size());
    upload(why, array, host);
    return array;
  }

  /// Waits for the device.
  template <class T>
  std::vector<T> download(Copied why, const T* from, std::size_t count) {
    std::vector<T> host(count);
    device_->download(host.data(), from, count * sizeof(T));
    copies_[why].toHost += static_cast<int64_t>(count * sizeof(T));
    ++copies_.waits;
    return host;
  }
  template <class T>
  std::vector<T> download(Copied why, const Array<T>& from) {
    return download(why, from.data(), from.size());
  }

  const Copies& copies() const { return copies_; }

 private:
  friend class Outbox;
  const std::shared_ptr<Device> device_;
  Copies copies_;
};

/// Gathers arrays on the device as they are made, so that a step has the host wait for them once.
class Outbox {
 public:
  Outbox(Transfer& transfer, std::size_t bytes) : transfer_(transfer), memory_(transfer.device_, bytes) {}

  /// Appends `values` as they are now.
  template <class T>
  void send(const Array<T>& values) {
    transfer_.device_->copy(memory_.data() + sent_, values.data(), values.bytes());
    sent_ += values.bytes();
  }
  /// Waits for all that was sent; take() then gives it, in the order in which it was sent.
  void receive() {
    received_ = memory_.download(0, std::exchange(sent_, 0));
    next_ = received_.data();
    ++transfer_.copies_.waits;
  }
  template <class T>
  std::vector<T> take(Copied why, const Array<T>& as) {
    std::vector<T> values(as.size());
    std::memcpy(values.data(), next_, as.bytes());
    next_ += as.bytes();
    transfer_.copies_[why].toHost += static_cast<int64_t>(as.bytes());
    return values;
  }
  std::size_t bytes() const { return memory_.bytes(); }

 private:
  Transfer& transfer_;
  Array<std::byte> memory_;
  std::size_t sent_ = 0;
  std::vector<std::byte> received_;
  const std::byte* next_ = nullptr;
};

}  // namespace fkinv
