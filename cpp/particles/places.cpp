#include "places.h"

#include <algorithm>
#include <utility>

namespace fkinv {

Places::Taken Places::take(const std::vector<std::string>& keys) {
  const auto before = std::exchange(placeOf_, {});
  std::vector<uint8_t> isTaken(keys.size());
  const auto take = [&](std::size_t place) {
    if (place >= isTaken.size()) isTaken.resize(place + 1);
    isTaken[place] = 1;
  };
  for (const std::string& key : keys) {
    const auto kept = before.find(key);
    if (kept == before.end()) continue;
    placeOf_.insert(*kept);
    take(static_cast<std::size_t>(kept->second));
  }
  Taken taken = {std::vector<int32_t>(keys.size(), -1), {}};
  std::size_t next = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].empty()) continue;
    while (next < isTaken.size() && isTaken[next] != 0) ++next;
    const auto [at, isNew] = placeOf_.emplace(keys[i], static_cast<int32_t>(next));
    if (isNew) taken.fresh.push_back({at->second, i});
    next += isNew;
    taken.placeOf[i] = at->second;
  }
  return taken;
}

void Places::forget(int32_t place) {
  std::erase_if(placeOf_, [place](const auto& entry) { return entry.second == place; });
}

}  // namespace fkinv
