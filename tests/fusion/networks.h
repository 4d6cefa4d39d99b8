#pragma once
#include <algorithm>
#include <gtest/gtest.h>
#include <set>

#include "fusion/nest.h"
#include "fusion/storage.h"
#include "graph/operators.h"

/// Small graphs, and what the tests of this folder ask of storage and nests.
namespace corf::fusion {

using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

inline ValueId relu(Graph& g, const std::string& name, ValueId x) {
  return graph::elementwise(
      g, name, {x},
      [](ScalarBody& b, const std::vector<int>& in) {
        return b.apply(ScalarOp::kMax, in[0], b.constant(0, DType::kF32));
      },
      "Relu");
}

inline ValueId add(Graph& g, const std::string& name, ValueId x, ValueId y) {
  return graph::elementwise(
      g, name, {x, y},
      [](ScalarBody& b, const std::vector<int>& in) {
        return b.apply(ScalarOp::kAdd, in[0], in[1]);
      },
      "Add");
}

/// A convolution with stride 1 that keeps the image's size, with weights of its own.
inline ValueId conv(Graph& g, const std::string& name, ValueId x, int64_t channels,
                    int64_t kernel) {
  const ValueId w = g.add_constant(
      name + "_w", Tensor(DType::kF32, {channels, g.values[x].shape[1], kernel, kernel}));
  const int64_t pad = kernel / 2;
  return graph::conv(g, name, x, w, {{kernel, kernel}, {1, 1}, {1, 1}, {pad, pad}, {pad, pad}}, 1);
}

inline void finish(Graph& g, const std::vector<ValueId>& outputs) {
  g.outputs = outputs;
  for (const ValueId value : outputs) g.output_names.push_back(g.values[value].name);
}

inline Root::Kind kind_of(const StoragePlan& plan, ValueId value) {
  return plan.roots[plan.values[value].root].kind;
}

/// Calls f(point) for every point of a box.
template <typename F>
void for_each_point(const Shape& extents, F&& f) {
  if (num_elems(extents) == 0) return;
  std::vector<int64_t> point(extents.size(), 0);
  while (true) {
    f(point);
    size_t d = extents.size();
    while (d > 0 && ++point[d - 1] == extents[d - 1]) point[--d] = 0;
    if (d == 0) return;
  }
}

/// Every element of every value lies within its buffer, its margins too; no two elements of a value
/// that a kernel writes share a place.
inline void expect_sound(const Graph& g, const StoragePlan& plan) {
  for (size_t v = 0; v < g.values.size(); ++v) {
    const Storage& storage = plan.values[v];
    const Shape& shape = g.values[v].shape;
    ASSERT_TRUE(storage.assigned()) << g.values[v].name;
    const Root& root = plan.roots[storage.root];
    EXPECT_EQ(root.dtype, g.values[v].dtype) << g.values[v].name;
    int64_t first = storage.offset, last = storage.offset;
    for (size_t d = 0; d < shape.size(); ++d) {
      const int64_t low = -storage.margin_before[d] * storage.strides[d];
      const int64_t high = (shape[d] - 1 + storage.margin_after[d]) * storage.strides[d];
      first += std::min(low, high);
      last += std::max(low, high);
    }
    EXPECT_GE(first, 0) << g.values[v].name;
    EXPECT_LT(last, root.size_elems) << g.values[v].name;
    if (!std::holds_alternative<graph::Compute>(g.producer(static_cast<ValueId>(v)).op)) continue;
    std::set<int64_t> places;
    for_each_point(shape, [&](const std::vector<int64_t>& point) {
      int64_t place = storage.offset;
      for (size_t d = 0; d < shape.size(); ++d) place += point[d] * storage.strides[d];
      places.insert(place);
    });
    EXPECT_EQ(static_cast<int64_t>(places.size()), num_elems(shape)) << g.values[v].name;
  }
}

/// What a nest touches: for each of its points the places of its loads (-1: padding) and stores,
/// and the values of its indices.
inline std::multiset<std::vector<int64_t>> touched(const Nest& nest) {
  Shape extents;
  for (const NestAxis& axis : nest.axes) extents.push_back(axis.extent);
  std::multiset<std::vector<int64_t>> result;
  for_each_point(extents, [&](const std::vector<int64_t>& point) {
    std::vector<int64_t> places;
    const auto touch = [&](const Access& access) {
      bool inside = true;
      for (const Access::Guard& guard : access.guards) {
        const int64_t value = index::evaluate(guard.expr, point);
        inside &= guard.lo <= value && value < guard.hi;
      }
      places.push_back(inside ? index::evaluate(access.address, point) : -1);
    };
    for (const Access& load : nest.loads) touch(load);
    for (const Nest::Store& store : nest.stores) {
      touch(store.access);
      if (places.back() < 0) return;  // nothing is made beyond the end of an axis cut unevenly
    }
    for (const NestOp& op : nest.ops) {
      if (op.kind == NestOp::Kind::kIndex) places.push_back(index::evaluate(op.index, point));
    }
    result.insert(places);
  });
  return result;
}

}  // namespace corf::fusion
