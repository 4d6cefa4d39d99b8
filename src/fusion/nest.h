#pragma once
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fusion/walk.h"
#include "graph/graph.h"

namespace corf::fusion {

/// A read or write of a buffer. Variables of the expressions: nest axes by number; from
/// kGatherBase on, the integer value of nest operation (id - kGatherBase).
constexpr int kGatherBase = 1 << 20;
struct Access {
  graph::ValueId value = -1;
  int root = -1;
  Expr address;  // in elements of the root's buffer
  /// Of a ring that turns: the element's row, and the rows that it can be in. `address` is where it
  /// would lie in a buffer of all rows, `lies_at` where it does.
  struct Turning {
    Expr row;
    index::Interval rows;
  };
  std::optional<Turning> turning;
  std::vector<Expr> coordinates;  // of the value's element; of canonical nests, empty
  struct Guard {
    Expr expr;
    int64_t lo = 0, hi = 0;  // lo <= expr < hi
  };
  std::vector<Guard> guards;
  double padding = 0;
  /// Outside of these bounds, affine in the axes, it reads margins instead, which hold zeros.
  std::vector<Guard> zeros;
};

/// Whether an integer that is read decides the expression.
bool is_gathered(const Expr& expr);

struct NestOp {
  enum class Kind : uint8_t { kLoad, kConstant, kIndex, kApply, kReduce } kind = Kind::kConstant;
  DType dtype = DType::kF32;
  int access = -1;                             // kLoad
  double f64 = 0;                              // kConstant
  int64_t i64 = 0;                             // kConstant
  Expr index;                                  // kIndex
  graph::ScalarOp op = graph::ScalarOp::kAdd;  // kApply
  std::vector<int> args;                       // kApply, kReduce (one)
};

struct NestAxis {
  std::string name;
  int64_t extent = 1;
  bool reduction = false;
  /// Of a stage of a group with strips: the shared loop that walks the axis (outer loops first, the
  /// stream last), or -1; such an axis is neither merged nor dropped.
  int shared = -1;
  int64_t unit = 1;   // points of the stage's dimension that one step of a shared axis stands for
  int64_t block = 0;  // points of that dimension that are taken at a time; 0: all

  /// Whether a reduction's steps are taken in parts, some at a time.
  bool in_parts() const { return reduction && block > 0; }

  /// Steps at a time, at most.
  int64_t most_steps() const { return block == 0 ? extent : std::min(extent, block / unit); }
};

/// A sum of products of two loads, of narrower numbers perhaps widened, and what is added to it.
struct Contraction {
  std::array<int, 2> factors = {-1, -1};  // loads
  /// The reduction axis whose steps the words of one factor hold side by side
  /// (rewrite/weights_in_words.h), or -1: numbers are taken out of them, and scaled.
  int digit_axis = -1;
  /// The operation that adds a loaded value (a bias) to the sum and is all that reads the sum, or
  /// -1: kernels begin the sum with that value.
  int addition = -1;
};

/// A compute operator together with the element-wise operators inlined into it, as one loop nest
/// over flat buffers: operations in single assignment form, at most one of them a reduction.
struct Nest {
  std::vector<NestAxis> axes;
  std::vector<Access> loads;
  std::vector<NestOp> ops;
  graph::Combiner combiner = graph::Combiner::kNone;
  bool select_last = false;
  int reduce_op = -1;  // the kReduce operation, or -1
  struct Store {
    Access access;
    int op = -1;
  };
  std::vector<Store> stores;
  std::optional<Contraction> contraction;  // what find_contraction says
};

/// A nest that many schedules, and the groups that are tried with them, have in common.
class SharedNest {
 public:
  SharedNest() : SharedNest(Nest{}) {}
  // NOLINTNEXTLINE(google-explicit-constructor): a nest can be shared wherever one is expected.
  SharedNest(Nest nest) : nest_(std::make_shared<const Nest>(std::move(nest))) {}
  // NOLINTNEXTLINE(google-explicit-constructor): and is one.
  operator const Nest&() const { return *nest_; }
  const Nest* operator->() const { return nest_.get(); }

 private:
  std::shared_ptr<const Nest> nest_;
};

/// The roles in the nest's reduction, if it is a contraction.
std::optional<Contraction> find_contraction(const Nest& nest);

/// The factors of a contraction: the one that varies along the vector axis and the one that does
/// not; nullopt if both or neither do, or the nest is none.
struct FactorRoles {
  int along = -1, across = -1;  // loads
};
std::optional<FactorRoles> factor_roles(const Nest& nest, int vector_axis);

/// Whether the element lies in a ring that turns among the rows that the access can be in.
bool turns(const Access& access, const StorageView& storage);

/// Where the element lies: in a ring that turns, in the row modulo the ring's rows. How many these
/// are is known to the storage only, so that rings of all lengths share nests.
Expr lies_at(const Access& access, const StorageView& storage);

/// Whether the address or a guard depends on the axis.
bool depends_with_guards(const Access& access, int axis);

/// True if the load's data is known now and will be rearranged into the order in which the kernel
/// reads it.
bool is_packed(const Nest& nest, const StorageView& storage, int load, int vector_axis);

/// True if the load's data is known now and so small, along so few axes, that the code itself can
/// hold them, one value for each point of a register tile over these axes. Never along the vector
/// axis.
bool is_table(const Nest& nest, const StorageView& storage, int load, int vector_axis);

/// sum over the tables' reduction axes of load * product of tables. Each table has one reduction
/// axis of its own and one parallel axis of its own, so that the sum can be taken axis by axis.
struct ScaledSum {
  struct Table {
    int op = -1;  // operation of the nest: a load
    int reduction_axis = -1, parallel_axis = -1;
  };
  int op = -1;  // the load that is scaled
  std::vector<Table> tables;
};

/// The nest's reduction as a scaled sum whose tables the code can hold; nullopt if it is none.
std::optional<ScaledSum> scaled_sum(const Nest& nest, const StorageView& storage, int vector_axis);

/// The nest of `nodes` (in graph order; at most one has reduction axes), storing the values in
/// `stored`. All nodes but the reduction are element-wise; values read from outside are loaded from
/// their storage.
/// Axes: the reduction's, or the stored values' dimensions; parallel ones first.
Nest build_nest(const graph::Graph& graph, const StorageView& storage,
                const std::vector<graph::NodeId>& nodes, const std::vector<graph::ValueId>& stored);

/// The nest that copies a view's input into its output (part: which input of a concatenation), or,
/// with node -1, graph output `output` from its value.
Nest build_view_copy(const graph::Graph& graph, const StorageView& storage, graph::NodeId node,
                     int part);
Nest build_output_copy(const graph::Graph& graph, const StorageView& storage, int output);

/// Splits axes that divisions and modulos by constants cut, drops axes of extent 1, and merges
/// neighbours that every access walks as one.
Nest canonicalize(Nest nest);

}  // namespace corf::fusion
