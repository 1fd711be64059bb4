// The extents that the particle system's memory is made of, and how a part's arrays are allocated, planned and counted
// from one list.
//
// A part of the particle system holds its arrays in a struct with
//   template <class Visit> void each(const Extents&, Visit visit)
// which calls visit(array, size) for each of them: allocate(), plannedBytes() and heldBytes() go through that list.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "particle_options.h"

namespace fkinv {

struct Extents {
  std::size_t images, particles, length, guesses;
  int vocab, chunkTiles;  // columns of a row of logits; Device::chunkTiles()
  std::size_t embedSize;
  std::size_t narrowBytes;                  // of an image's condition, where the graph takes it in float16; else 0
  std::size_t suppressed, stops;            // ids
  std::size_t restrictions, restrictedIds;  // restrictions, and the ids of all of them
  std::size_t rewards, givenRewards;        // all of them, and those whose values come from the host

  std::size_t positions() const { return particles * length; }
  std::size_t allGuesses() const { return guesses * particles; }
  /// What decides the tables that the logits are read into: a state a particle at most.
  kernels::PassShape passShape() const {
    return {static_cast<int>(particles), static_cast<int>(length), vocab, chunkTiles};
  }
};

Extents extentsOf(const Device&, const DllmGraph&, int embedSize, const ParticleOptions&);

/// A tensor of a graph: `rowShape` is its shape less the leading axis, or all of it where every row's run is given the
/// same.
struct GraphTensor {
  std::string name;
  ONNXTensorElementDataType type;
  std::vector<int64_t> rowShape;
  bool isShared = false;
  std::size_t rowBytes() const;
};

template <class Arrays>
void allocate(Arrays& arrays, const std::shared_ptr<Device>& device, const Extents& extents) {
  arrays.each(extents, [&]<class T>(Array<T>& array, std::size_t size) { array = Array<T>(device, size); });
}

template <class Arrays>
std::size_t plannedBytes(const Extents& extents) {
  std::size_t sum = 0;
  Arrays().each(extents, [&]<class T>(const Array<T>&, std::size_t size) { sum += size * sizeof(T); });
  return sum;
}

template <class Arrays>
std::size_t heldBytes(Arrays& arrays, const Extents& extents) {
  std::size_t sum = 0;
  arrays.each(extents, [&]<class T>(const Array<T>& array, std::size_t) { sum += array.bytes(); });
  return sum;
}

}  // namespace fkinv
