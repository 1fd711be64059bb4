#include "binding.h"

#include <algorithm>
#include <numeric>
#include <string_view>

#include "platform/platform.h"

namespace fkinv::ort {
namespace {
constexpr const char* kCode = "MODEL_RUN";

// What the device has left, where there was no room.
std::string freeOf(Device& device, std::string_view message) {
  if (codeOf(message, kCode) == kCode) return "";
  const auto free = device.freeBytes();
  return free ? " (" + std::to_string(*free >> 20) + " MiB of the device are free)" : "";
}
}  // namespace

Binding::Binding(std::shared_ptr<Session> session, std::shared_ptr<Device> device, std::string model)
    : session_(std::move(session)),
      device_(std::move(device)),
      model_(std::move(model)),
      memory_(memoryOf(*device_)),
      runOptions_(runOptionsOf(*device_, session_->cudaGraphs() != nullptr ? std::optional<int>(-1) : std::nullopt)) {}

namespace {
std::vector<int64_t> ofOneRow(const std::vector<int64_t>& rowShape) {
  std::vector<int64_t> shape = {1};
  shape.insert(shape.end(), rowShape.begin(), rowShape.end());
  return shape;
}
}  // namespace

void* Binding::input(const std::string& name, ONNXTensorElementDataType type, int64_t rows,
                     const std::vector<int64_t>& rowShape) {
  return prepare(true, false, name, type, rows, ofOneRow(rowShape));
}

void* Binding::output(const std::string& name, ONNXTensorElementDataType type, int64_t rows,
                      const std::vector<int64_t>& rowShape) {
  return prepare(false, false, name, type, rows, ofOneRow(rowShape));
}

void* Binding::sharedInput(const std::string& name, ONNXTensorElementDataType type, const std::vector<int64_t>& shape) {
  return prepare(true, true, name, type, 1, shape);
}

void* Binding::prepare(bool isInput, bool isShared, const std::string& name, ONNXTensorElementDataType type,
                       int64_t rows, std::vector<int64_t> shape) {
  auto slot =
      std::find_if(slots_.begin(), slots_.end(), [&](const Slot& s) { return s.isInput == isInput && s.name == name; });
  if (slot == slots_.end()) slot = slots_.insert(slots_.end(), Slot{isInput, isShared, name, type, {}, 0, {}});
  if (slot->shape != shape) {
    rows_.clear();
    slot->shape = std::move(shape);
    slot->rowBytes = typeBytes(type);
    for (int64_t extent : slot->shape) slot->rowBytes *= static_cast<std::size_t>(extent);
  }
  const std::size_t bytes = slot->rowBytes * static_cast<std::size_t>(rows);
  if (slot->memory.size() < bytes) {
    rows_.clear();
    slot->memory = {};  // before the larger one is allocated, not after
    slot->memory = Array<uint8_t>(device_, bytes);
  }
  return slot->memory.data();
}

Binding::Row Binding::bindRow(std::size_t index, int32_t width) {
  Row row;
  row.width = width;
  for (Slot& slot : slots_) {
    std::vector<int64_t> shape = slot.shape;
    std::size_t bytes = slot.rowBytes;
    if (slot.isInput && !slot.isShared && width > 0) {
      bytes = bytes / static_cast<std::size_t>(shape.back()) * static_cast<std::size_t>(width);
      shape.back() = width;
    }
    if (slot.isInput) row.inputBytes += static_cast<int64_t>(bytes);
    void* data = slot.memory.data() + (slot.isShared ? 0 : index * slot.rowBytes);
    const void* source = nullptr;
    if (slot.isInput && session_->readsOnHost(slot.name)) {
      source = data;
      data = row.onHost.emplace_back(bytes).data();
    }
    row.tensors.push_back({slot.isInput, slot.name, slot.type, std::move(shape), bytes, data, source});
  }
  row.run.emplace(session_->handle(), memory_.get(), row.tensors);
  return row;
}

// ONNX Runtime's message, or nothing when it ran.
std::string Binding::runRow(const Row& row, const CancelToken& cancel) const {
  cancel.check();
  for (const BoundTensor& tensor : row.tensors) {
    if (tensor.source != nullptr) device_->download(tensor.data, tensor.source, tensor.bytes);
  }
  if (CudaGraphs* graphs = session_->cudaGraphs()) {
    if (auto message = graphs->run(row.tensors)) return *message;
  }
  std::string message = row.run->run(runOptions_.get());
  if (!message.empty()) cancel.check();
  return message;
}

std::vector<Binding::Failure> Binding::run(int64_t rows, CancelToken& cancel, std::span<const int32_t> widths) {
  std::vector<int64_t> all(static_cast<std::size_t>(rows));
  std::iota(all.begin(), all.end(), 0);
  return run(all, cancel, widths);
}

std::vector<Binding::Failure> Binding::run(std::span<const int64_t> rows, CancelToken& cancel,
                                           std::span<const int32_t> widths) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<std::size_t>(rows[i]);
    const int32_t width = widths.empty() ? -1 : widths[i];
    if (rows_.size() <= row) rows_.resize(row + 1);
    if (rows_[row].width != width) rows_[row] = bindRow(row, width);
  }
  const CancelToken::Guard guard(cancel, [this] {
    if (OrtStatus* failed = api().RunOptionsSetTerminate(runOptions_.get())) api().ReleaseStatus(failed);
  });
  std::vector<std::string> messages(rows.size());
  const auto at = [&](int64_t i) -> const Row& {
    return rows_[static_cast<std::size_t>(rows[static_cast<std::size_t>(i)])];
  };
  device_->eachRow({model_, static_cast<int64_t>(rows.size()), [&at](int64_t i) { return at(i).inputBytes; }},
                   [&](int64_t i) { messages[static_cast<std::size_t>(i)] = runRow(at(i), cancel); });
  std::vector<Failure> failures;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].empty()) continue;
    const std::string what = "running " + platform::toUtf8(session_->path()) + ": " + messages[i];
    failures.push_back({rows[i], Error(codeOf(messages[i], kCode), what + freeOf(*device_, messages[i]))});
  }
  return failures;
}

std::size_t Binding::bytes() const {
  std::size_t sum = 0;
  for (const Slot& slot : slots_) sum += slot.memory.size();
  return sum;
}

}  // namespace fkinv::ort
