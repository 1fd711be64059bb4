// What one read of the logits leaves for the other kernels: the tables that pass and merge fill. Their fields and
// extents are listed once, in eachArray(), and whoever allocates them, measures them or points into them goes by that
// list.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#include "logits.h"

namespace fkinv::kernels {

/// What decides the extents of the tables.
struct PassShape {
  int states, positions, vocab;
  int chunkTiles;  // tiles of a chunk, by which devices differ (Device::chunkTiles)

  int64_t rows() const { return static_cast<int64_t>(states) * positions; }
  int64_t tiles() const { return (vocab + kTile - 1) / kTile; }
  int64_t cells() const { return rows() * tiles(); }
  int64_t chunks() const { return (tiles() + chunkTiles - 1) / chunkTiles; }
  int64_t pairs() const { return static_cast<int64_t>(positions) * (positions + 1) / 2; }
  /// The same tables with other states in them.
  PassShape of(int ofStates) const { return {ofStates, positions, vocab, chunkTiles}; }
};

/// What pass leaves of each tile. With m a tile's `exponent` (integral, or −inf where nothing was met yet) and x =
/// z·log2e − m ≤ 3: mass Σ 2^x, moment Σ x·2^x, weight Σ 2^(x/τ). The exponents of a chunk only grow; gram is Σ 2^(x_i
/// + x_j) of the chunk's columns by the exponents of its last tile.
struct TileTable {
  float* max;        // [rows, tiles]
  double* exponent;  // [rows, tiles]
  float* mass;       // [rows, tiles]
  float* moment;     // [rows, tiles]
  float* weight;  // [rows, tiles] after the merge by the row's exponent: what a draw picks the tile by; unused at τ = 0
  float* gram;    // [states, chunks, pairs], the upper triangle with its diagonal, row by row
  int chunkTiles;  // tiles of a chunk of gram
};

/// Why a row cannot be used.
enum class RowFault : uint8_t { none = 0, notFinite = 1, nothingLeft = 2 };

/// Softmax statistics of each row, and the token-to-token similarity S = P̂P̂ᵀ of each state.
struct RowStats {
  float* max;            // [rows] exact maximum
  double* exponent;      // [rows] m
  double* mass;          // [rows] L = Σ 2^(z·log2e − m)
  double* temperedMass;  // [rows] Σ 2^((z·log2e − m)/τ) over the kept tokens, the sum of the tiles' weights
  float* threshold;      // [rows] tokens with z below it are not drawn (kernels/truncate.h); −inf keeps all
  float* entropy;        // [rows] nats, at least 0
  RowFault* fault;       // [rows]
  float* gram;           // [states, positions, positions]
};

/// f(field, how many values it has) of every array of the table: the list that allocation and sizes go by.
template <class F>
void eachArray(TileTable& table, const PassShape& shape, F f) {
  const int64_t cells = shape.cells();
  f(table.max, cells);
  f(table.exponent, cells);
  f(table.mass, cells);
  f(table.moment, cells);
  f(table.weight, cells);
  f(table.gram, shape.states * shape.chunks() * shape.pairs());
}
template <class F>
void eachArray(RowStats& stats, const PassShape& shape, F f) {
  const int64_t rows = shape.rows();
  f(stats.max, rows);
  f(stats.exponent, rows);
  f(stats.mass, rows);
  f(stats.temperedMass, rows);
  f(stats.threshold, rows);
  f(stats.entropy, rows);
  f(stats.fault, rows);
  f(stats.gram, rows * shape.positions);
}

/// Both tables.
struct PassResult {
  TileTable tiles;
  RowStats rows;
};

/// Tables whose arrays take(bytes) gives the memory of, each aligned for its type.
template <class Take>
PassResult takeTables(const PassShape& shape, Take take) {
  PassResult result{};
  const auto place = [&]<class T>(T*& array, int64_t size) {
    void* const memory = take(static_cast<std::size_t>(size) * sizeof(T));
    array = static_cast<T*>(memory);
  };
  eachArray(result.tiles, shape, place);
  eachArray(result.rows, shape, place);
  result.tiles.chunkTiles = shape.chunkTiles;
  return result;
}

/// Bytes of a table of that shape.
template <class Table>
std::size_t bytesOf(const PassShape& shape) {
  std::size_t bytes = 0;
  Table table{};
  eachArray(table, shape, [&]<class T>(T*&, int64_t size) { bytes += static_cast<std::size_t>(size) * sizeof(T); });
  return bytes;
}

/// The part of a table of that shape from state `first` on.
template <class Table>
Table fromState(Table table, const PassShape& shape, int first) {
  eachArray(table, shape.of(first), [](auto*& array, int64_t before) { array += before; });
  return table;
}

}  // namespace fkinv::kernels
