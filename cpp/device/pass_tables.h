// The tables that pass and merge fill, in a device's memory.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "device.h"
#include "kernels/pass_result.h"

namespace fkinv {

/// Both tables of every state, each array an allocation of its own.
class PassTables {
 public:
  PassTables() = default;
  PassTables(const std::shared_ptr<Device>& device, const kernels::PassShape& shape) : shape_(shape) {
    tables_ = kernels::takeTables(shape, [&](std::size_t bytes) { return arrays_.emplace_back(device, bytes).data(); });
  }

  /// The tables of the states from `first` on.
  kernels::PassResult from(int first) const {
    return {kernels::fromState(tables_.tiles, shape_, first), kernels::fromState(tables_.rows, shape_, first)};
  }
  const kernels::PassResult& of() const { return tables_; }
  const TileTable& tiles() const { return tables_.tiles; }
  const RowStats& rows() const { return tables_.rows; }
  std::size_t bytes() const {
    return std::transform_reduce(arrays_.begin(), arrays_.end(), std::size_t{0}, std::plus<>(),
                                 [](const Array<std::byte>& array) { return array.bytes(); });
  }

 private:
  kernels::PassShape shape_{};
  std::vector<Array<std::byte>> arrays_;
  kernels::PassResult tables_{};
};

}  // namespace fkinv
