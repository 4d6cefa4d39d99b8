#include "lower/boxes.h"
#include "lower/lower_nest.h"

namespace corf::lower {

std::vector<loop::Stmt> zero_margins(graph::ValueId value, int64_t partitions,
                                     KernelBuilder& builder) {
  const fusion::Storage& storage = builder.storage().plan().values[value];
  std::vector<loop::Stmt> result;
  if (!storage.has_margins()) return result;
  const graph::Value& info = builder.buffers().graph().values[value];
  const int rank = static_cast<int>(info.shape.size());
  Box box;
  box.strides = storage.strides;
  box.offset = index::Expr(storage.offset);
  box.buffer = builder.place(storage.root, true).buffer;
  box.dtype = info.dtype;
  box.ranges.resize(rank);
  // Disjoint boxes: the margin along dimension d, inside of the earlier dimensions' extents, over
  // the whole of the later ones.
  for (int d = 0; d < rank; ++d) {
    for (int i = 0; i < rank; ++i) {
      box.ranges[i] = BoxRange::fixed(i > d ? -storage.margin_before[i] : 0,
                                      info.shape[i] + (i > d ? storage.margin_after[i] : 0));
    }
    const BoxRange sides[] = {
        BoxRange::fixed(-storage.margin_before[d], 0),
        BoxRange::fixed(info.shape[d], info.shape[d] + storage.margin_after[d])};
    for (const BoxRange& side : sides) {
      if (side.length <= 0) continue;
      box.ranges[d] = side;
      result.push_back(fill_box(box, storage.margin_value, partitions, builder));
    }
  }
  return result;
}

}  // namespace corf::lower
