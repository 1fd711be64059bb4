// How long each stage of the steps took, on the host's clock.
#pragma once
#include <chrono>
#include <vector>

#include "device/device.h"

namespace fkinv {

struct Stage {
  const char* name;
  double milliseconds = 0;
  int calls = 0;
};

enum class StageId : std::size_t { denoise, pass, guess, encodeText, reward, resample, propose };

class Stages {
 public:
  const std::vector<Stage>& all() const { return all_; }

  /// Adds its lifetime to a stage, by whose name the device's profiler has it.
  class Timer {
   public:
    Timer(Stages& stages, Device& device, StageId id)
        : stage_(stages.all_[static_cast<std::size_t>(id)]), range_(device, stage_.name) {}
    ~Timer() {
      stage_.milliseconds += std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
      ++stage_.calls;
    }

   private:
    using Clock = std::chrono::steady_clock;
    Stage& stage_;
    const Range range_;
    const Clock::time_point start_ = Clock::now();
  };

 private:
  std::vector<Stage> all_ = {{"denoise"}, {"pass"}, {"guess"}, {"encodeText"}, {"reward"}, {"resample"}, {"propose"}};
};

}  // namespace fkinv
