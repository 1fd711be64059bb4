#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "pass_result.h"

namespace fkinv::kernels {

/// Both tables of the pass and the merge in the host's memory, for those that read logits without a device.
class HostTables {
 public:
  explicit HostTables(const PassShape& shape)
      : result_(takeTables(shape, [this](std::size_t bytes) {
          return memory_.emplace_back(std::make_unique<std::byte[]>(bytes)).get();
        })) {}

  const PassResult& of() const { return result_; }
  const TileTable& tiles() const { return result_.tiles; }
  const RowStats& rows() const { return result_.rows; }

 private:
  std::vector<std::unique_ptr<std::byte[]>> memory_;  // each array is an allocation of exactly its size
  const PassResult result_;
};

}  // namespace fkinv::kernels
