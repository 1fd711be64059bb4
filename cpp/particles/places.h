// Places on the device for what is known by a key: states by their tokens, texts by their ids.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace fkinv {

/// What a step has in common with the step before stays at its place, so that it need not be made again; what is fresh
/// comes to places that are free. Equal keys share a place. No step has more keys than there are places.
class Places {
 public:
  struct Fresh {
    int32_t place;
    std::size_t first;  // index of the first key that has it
  };
  struct Taken {
    std::vector<int32_t> placeOf;  // [keys], −1 for the empty key, which has none
    std::vector<Fresh> fresh;      // those that the step before did not have, by ascending place
  };

  /// Places of the keys of a step; those of the step before that it does not have are free again.
  Taken take(const std::vector<std::string>& keys);

  /// Has what is at `place` made again, should a later step come to it.
  void forget(int32_t place);

 private:
  std::unordered_map<std::string, int32_t> placeOf_;
};

}  // namespace fkinv
