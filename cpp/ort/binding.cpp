#include "binding.h"

#include <algorithm>

#include "../error.h"

namespace fkinv::ort {
namespace {
constexpr const char* kCode = "MODEL_RUN";
}

Binding::Binding(std::shared_ptr<Session> session, std::shared_ptr<Device> device)
    : session_(std::move(session)), device_(std::move(device)) {
  OrtMemoryInfo* memoryInfo = nullptr;
  check(api().CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memoryInfo), kCode, "describing memory");
  memoryInfo_.reset(memoryInfo);
  OrtIoBinding* binding = nullptr;
  check(api().CreateIoBinding(session_->handle(), &binding), kCode, "creating the I/O binding");
  binding_.reset(binding);
  OrtRunOptions* runOptions = nullptr;
  check(api().CreateRunOptions(&runOptions), kCode, "creating run options");
  runOptions_.reset(runOptions);
}

Binding::Slot& Binding::prepare(std::vector<Slot>& slots, const std::string& name, ONNXTensorElementDataType type,
                                const std::vector<int64_t>& shape, bool& changed) {
  auto slot = std::find_if(slots.begin(), slots.end(), [&](const Slot& s) { return s.name == name; });
  changed = slot == slots.end() || slot->shape != shape || slot->type != type;
  if (!changed) return *slot;
  if (slot == slots.end()) slot = slots.insert(slots.end(), Slot{name, type, {}, {}, {}});
  std::size_t bytes = typeBytes(type);
  for (int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
  if (slot->memory.size() < bytes) {
    slot->value.reset();
    slot->memory = {};
    slot->memory = Array<uint8_t>(device_, bytes);
  }
  OrtValue* value = nullptr;
  check(api().CreateTensorWithDataAsOrtValue(memoryInfo_.get(), slot->memory.data(), bytes, shape.data(), shape.size(),
                                             type, &value),
        kCode, "creating a tensor");
  slot->value.reset(value);
  slot->shape = shape;
  slot->type = type;
  return *slot;
}

void* Binding::input(const std::string& name, ONNXTensorElementDataType type, const std::vector<int64_t>& shape) {
  bool changed = false;
  Slot& slot = prepare(inputs_, name, type, shape, changed);
  if (changed) check(api().BindInput(binding_.get(), name.c_str(), slot.value.get()), kCode, "binding an input");
  return slot.memory.data();
}

void* Binding::output(const std::string& name, ONNXTensorElementDataType type, const std::vector<int64_t>& shape) {
  bool changed = false;
  Slot& slot = prepare(outputs_, name, type, shape, changed);
  if (changed) check(api().BindOutput(binding_.get(), name.c_str(), slot.value.get()), kCode, "binding an output");
  return slot.memory.data();
}

void Binding::run(CancelToken& cancel) {
  OrtStatus* status;
  {
    const CancelToken::Guard guard(cancel, [this] {
      if (OrtStatus* failed = api().RunOptionsSetTerminate(runOptions_.get())) api().ReleaseStatus(failed);
    });
    status = api().RunWithBinding(session_->handle(), runOptions_.get(), binding_.get());
  }
  if (status != nullptr && cancel.cancelled()) {
    api().ReleaseStatus(status);
    cancel.check();
  }
  check(status, kCode, ("running " + session_->path().string()).c_str());
}

std::size_t Binding::bytes() const {
  std::size_t sum = 0;
  for (const auto* slots : {&inputs_, &outputs_}) {
    for (const Slot& slot : *slots) sum += slot.memory.size();
  }
  return sum;
}

}  // namespace fkinv::ort
