#include "search/known_choices.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>

namespace corf::search {
namespace {

using fusion::Access;
using fusion::Nest;
using fusion::NestOp;

/// Puts a nest into words, but for the values that it reads and writes, which it lists.
class NestWords {
 public:
  NestWords(const Nest& nest, std::string& text, std::vector<graph::ValueId>& values)
      : nest_(nest), text_(text), values_(values) {}

  void run() {
    for (const fusion::NestAxis& axis : nest_.axes) {
      add("{}{},", axis.reduction ? "r" : "p", axis.extent);
    }
    for (const Access& load : nest_.loads) add_access("load", load);
    for (const NestOp& op : nest_.ops) add_op(op);
    for (const Nest::Store& store : nest_.stores) {
      add_access("store", store.access);
      add(" of {}", store.op);
    }
    add(" combine {} {} {}\n", static_cast<int>(nest_.combiner), nest_.select_last,
        nest_.reduce_op);
  }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }

  static std::string words(const index::Expr& expr) {
    return index::to_string(expr, [](int id) { return fmt::format("v{}", id); });
  }

  void add_guards(const char* kind, const std::vector<Access::Guard>& guards) {
    for (const Access::Guard& guard : guards) {
      add(" {} {} in {} {}", kind, words(guard.expr), guard.lo, guard.hi);
    }
  }

  void add_access(const char* kind, const Access& access) {
    values_.push_back(access.value);
    add("\n{} at {} [", kind, words(access.address));
    for (const index::Expr& coordinate : access.coordinates) add("{},", words(coordinate));
    add("] {}", access.padding);
    add_guards("guard", access.guards);
    add_guards("zeros", access.zeros);
  }

  void add_op(const NestOp& op) {
    add("\n{} {} {} {} {}", static_cast<int>(op.kind), static_cast<int>(op.dtype), op.access,
        op.kind == NestOp::Kind::kApply ? static_cast<int>(op.op) : -1, fmt::join(op.args, ","));
    if (op.kind == NestOp::Kind::kConstant) add(" {} {}", op.f64, op.i64);
    if (op.kind == NestOp::Kind::kIndex) add(" {}", words(op.index));
  }

  const Nest& nest_;
  std::string& text_;
  std::vector<graph::ValueId>& values_;
};

}  // namespace

std::string RunWords::signature(std::span<const fusion::GroupPlan> groups) {
  std::string text;
  std::vector<graph::ValueId> order;
  std::map<graph::ValueId, size_t> numbers;
  std::set<graph::NodeId> inside;
  for (const fusion::GroupPlan& group : groups) {
    const Words& own = words(group);
    text += own.text;
    for (graph::ValueId value : own.values) {
      const auto [at, fresh] = numbers.emplace(value, order.size());
      if (fresh) order.push_back(value);
      fmt::format_to(std::back_inserter(text), "{} ", at->second);
    }
    for (const fusion::Stage& stage : group.stages) {
      inside.insert(stage.nodes.begin(), stage.nodes.end());
    }
  }
  std::map<int, size_t> roots;
  for (graph::ValueId value : order) {
    const auto& readers = cache_.readers[value];
    const bool outside = std::any_of(readers.begin(), readers.end(),
                                     [&](graph::NodeId reader) { return !inside.count(reader); });
    const size_t root = roots.emplace(storage_.values[value].root, roots.size()).first->second;
    text += facts(value);
    fmt::format_to(std::back_inserter(text), " buffer {} {}\n", root, outside);
  }
  return text;
}

const RunWords::Words& RunWords::words(const fusion::GroupPlan& group) {
  auto [at, fresh] = words_.try_emplace(group.stages[0].nodes[0]);
  Words& own = at->second;
  if (!fresh) return own;
  for (const fusion::Stage& stage : group.stages) {
    own.text += "stage ";
    NestWords(cache_.nest_of(graph_, storage_, stage), own.text, own.values).run();
    own.values.insert(own.values.end(), stage.stored.begin(), stage.stored.end());
  }
  return own;
}

std::string RunWords::facts(graph::ValueId id) const {
  const graph::Value& value = graph_.values[id];
  const fusion::Storage& place = storage_.values[id];
  const fusion::Root& root = storage_.roots[place.root];
  return fmt::format("{} {} at {} {} margins {} {} of {} in {} {} {} {} shared {} {}",
                     static_cast<int>(value.dtype), value.shape, place.offset, place.strides,
                     place.margin_before, place.margin_after, place.margin_value,
                     static_cast<int>(root.kind), root.size_elems, static_cast<int>(root.dtype),
                     root.value == id, cache_.values_of[place.root].size(),
                     static_cast<bool>(cache_.is_output[id]));
}

namespace {

KnownChoice schedules_of(const StripChoice& choice) {
  KnownChoice known{choice.legal, {}};
  for (const TimedGroup& one : choice.best) {
    known.best.push_back({one.group.walk->schedule, {}});
    for (const fusion::ScheduledNest& nest : one.group.nests) {
      known.best.back().nests.push_back(nest.schedule);
    }
  }
  return known;
}

}  // namespace

const KnownChoice& KnownChoices::find(const std::string& signature,
                                      const std::function<StripChoice()>& search,
                                      std::optional<StripChoice>& own) {
  Entry* entry = nullptr;
  {
    const std::lock_guard lock(mutex_);
    entry = &entries_[signature];
  }
  const std::lock_guard searching(entry->searching);
  if (!entry->found) {
    own = search();
    entry->choice = schedules_of(*own);
    entry->found = true;
  }
  return entry->choice;
}

}  // namespace corf::search
