#include "loop/parameterize.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "loop/renumber.h"
#include "loop/visit.h"

namespace corf::loop {
namespace {

/// An integer of a kernel that could be a parameter.
struct Literal {
  int64_t value = 0;
  std::string name;  // what it would be called, not yet unique
};

/// A kernel whose candidates are parameters, after its own, in the order of `literals`.
struct Lifted {
  Kernel kernel;
  std::vector<Literal> literals;
};

std::string identifier_from(std::string_view text) {
  std::string out;
  for (char c : text) out += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return out.empty() || std::isdigit(static_cast<unsigned char>(out[0])) ? "b" + out : out;
}

class Lifting {
 public:
  explicit Lifting(const Kernel& kernel)
      : first_literal_(static_cast<int>(kernel.var_names.size())), result_{kernel, {}} {
    lift(result_.kernel.body);
    const auto num_literals = static_cast<int>(result_.literals.size());
    std::vector<int> new_ids;
    for (int var = 0; var < first_literal_; ++var) {
      new_ids.push_back(var <= kernel.num_params ? var : var + num_literals);
    }
    for (int i = 0; i < num_literals; ++i) {
      new_ids.push_back(1 + kernel.num_params + i);
      // No identifier: those that stay are named in the end.
      result_.kernel.var_names.push_back(fmt::format("?{}", i));
    }
    result_.kernel = renumber_variables(result_.kernel, new_ids);
    result_.kernel.num_params += num_literals;
  }
  Lifted take() { return std::move(result_); }

 private:
  // A loop inside of a tile with at most so many iterations is left to be unrolled.
  static constexpr int64_t kShortLoop = 16;

  Expr literal(int64_t value, std::string name) {
    result_.literals.push_back({value, std::move(name)});
    return Expr::variable(first_literal_ + static_cast<int>(result_.literals.size()) - 1);
  }
  const std::string& var_name(int var) const { return result_.kernel.var_names[var]; }

  Expr lift_bound(const Expr& e, const std::string& name) {
    switch (e.kind()) {
      case index::ExprKind::kConstant:
        return literal(e.constant(), name);
      case index::ExprKind::kVariable:
        return e;
      case index::ExprKind::kAdd:
        return lift_bound(e.lhs(), name) + lift_bound(e.rhs(), name);
      case index::ExprKind::kMul:
        return lift_bound(e.lhs(), name) * lift_bound(e.rhs(), name);
      case index::ExprKind::kMin:
        return min(lift_bound(e.lhs(), name), lift_bound(e.rhs(), name));
      case index::ExprKind::kMax:
        return max(lift_bound(e.lhs(), name), lift_bound(e.rhs(), name));
      case index::ExprKind::kFloorDiv:
        return floor_div(lift_bound(e.lhs(), name), e.rhs());
      case index::ExprKind::kMod:
        return mod(lift_bound(e.lhs(), name), e.rhs());
    }
    return e;
  }

  bool varies_over_tile(const Expr& e) const {
    std::vector<bool> used;
    index::collect_variables(e, used);
    return std::any_of(tile_variables_.begin(), tile_variables_.end(),
                       [&](int var) { return var < static_cast<int>(used.size()) && used[var]; });
  }

  /// Lifts the factors of the terms that are not linear in one variable.
  Expr lift_rest(const Expr& e, const std::string& name) {
    if (e.kind() == index::ExprKind::kAdd) {
      return lift_rest(e.lhs(), name) + lift_rest(e.rhs(), name);
    }
    if (e.kind() == index::ExprKind::kMul && !varies_over_tile(e)) {
      if (e.lhs().is_constant()) return literal(e.lhs().constant(), name) * e.rhs();
      if (e.rhs().is_constant()) return literal(e.rhs().constant(), name) * e.lhs();
    }
    return e;
  }

  Expr lift_offset(const Expr& e, int buffer) {
    const Kernel& kernel = result_.kernel;
    const auto num_buffers = static_cast<int>(kernel.buffers.size());
    const std::string name =
        identifier_from(buffer < num_buffers ? kernel.buffers[buffer].name
                                             : kernel.scratch[buffer - num_buffers].name);
    const index::Linear linear = index::to_linear(e);
    Expr sum = lift_rest(linear.rest, name + "_stride");
    for (const auto& [var, coefficient] : linear.coefficients) {
      const Expr v = Expr::variable(var);
      sum = sum + (tile_variables_.count(var)
                       ? Expr(coefficient) * v
                       : literal(coefficient, name + "_" + var_name(var) + "_stride") * v);
    }
    return sum + literal(linear.constant, name + "_start");
  }

  template <typename L>
  void lift_bounds(L& loop) {
    loop.lo = lift_bound(loop.lo, var_name(loop.var) + "_first");
    loop.hi = lift_bound(loop.hi, var_name(loop.var) + "_end");
  }

  void lift(std::vector<Stmt>& body) {
    for (Stmt& stmt : body) {
      if (auto* loop = std::get_if<For>(&stmt)) {
        lift_bounds(*loop);
        lift(loop->body);
        continue;
      }
      Tile& tile = std::get<Tile>(stmt);
      tile_variables_.clear();
      for (const TileAxis& axis : tile.axes) tile_variables_.insert(axis.var);
      lift(tile.body);
    }
  }
  void lift(std::vector<TileStmt>& body) {
    for (TileStmt& stmt : body) {
      if (auto* loop = std::get_if<TileLoop>(&stmt)) {
        if (!is_short(*loop)) lift_bounds(*loop);
        lift(loop->body);
      } else if (auto* store = std::get_if<TileStore>(&stmt)) {
        store->offset = lift_offset(store->offset, store->buffer);
      } else if (auto* prefetch = std::get_if<TilePrefetch>(&stmt)) {
        prefetch->offset = lift_offset(prefetch->offset, prefetch->buffer);
      } else if (auto* bind = std::get_if<TileBind>(&stmt)) {
        tile_variables_.insert(bind->var);
      } else if (auto* let = std::get_if<TileLet>(&stmt)) {
        if (auto* load = std::get_if<TileLoad>(&let->value)) {
          load->offset = lift_offset(load->offset, load->buffer);
        }
      }
    }
  }
  static bool is_short(const TileLoop& loop) {
    if (!loop.lo.is_constant() || !loop.hi.is_constant()) return false;
    const int64_t extent = loop.hi.constant() - loop.lo.constant();
    return extent <= std::max<int64_t>(kShortLoop, loop.unroll);
  }

  int first_literal_;
  Lifted result_;
  std::set<int> tile_variables_;
};

struct Member {
  int kernel = 0;
  std::vector<Literal> literals;
};

/// Kernels that are equal once lifted.
struct Group {
  Kernel lifted;  // of the first member
  std::vector<Member> members;
};

/// One kernel for all members of a group, and the values that each member's calls append.
struct Merged {
  Kernel kernel;
  std::vector<std::vector<int64_t>> params;  // by member
};

std::string unique_name(const std::string& base, const std::vector<std::string>& taken) {
  std::string name = base;
  for (int suffix = 2; std::count(taken.begin(), taken.end(), name) > 0; ++suffix) {
    name = fmt::format("{}_{}", base, suffix);
  }
  return name;
}

Merged merge(const Group& group, const Program& program) {
  const Kernel& lifted = group.lifted;
  const auto num_literals = static_cast<int>(group.members[0].literals.size());
  const int first_literal = 1 + lifted.num_params - num_literals;
  Merged merged{lifted, {}};
  merged.params.resize(group.members.size());

  // Literals that agree everywhere stay constants; those that always have the same values share a
  // parameter, which the first of them becomes.
  std::vector<Expr> replacements;
  std::map<std::vector<int64_t>, Expr> param_of_values;
  std::vector<int> new_ids(lifted.var_names.size(), -1);
  int next = 0;
  for (; next < first_literal; ++next) new_ids[next] = next;
  std::vector<std::string>& names = merged.kernel.var_names;
  for (int i = 0; i < num_literals; ++i) {
    std::vector<int64_t> values;
    for (const Member& member : group.members) values.push_back(member.literals[i].value);
    if (std::count(values.begin(), values.end(), values[0]) == std::ssize(values)) {
      replacements.emplace_back(values[0]);
      continue;
    }
    const int var = first_literal + i;
    const auto [it, is_new] = param_of_values.emplace(values, Expr::variable(var));
    replacements.push_back(it->second);
    if (!is_new) continue;
    for (size_t m = 0; m < values.size(); ++m) merged.params[m].push_back(values[m]);
    names[var] = unique_name(group.members[0].literals[i].name, names);
    new_ids[var] = next++;
  }
  merged.kernel.num_params = next - 1;
  for (size_t var = first_literal + num_literals; var < new_ids.size(); ++var) {
    new_ids[var] = next++;
  }

  KernelVisitor visitor;
  visitor.expr = [&](Expr& expr) {
    expr = index::substitute(expr, [&](int var) -> std::optional<Expr> {
      const int literal = var - first_literal;
      if (literal < 0 || literal >= num_literals) return std::nullopt;
      return replacements[literal];
    });
  };
  visit(merged.kernel, visitor);
  merged.kernel = renumber_variables(merged.kernel, new_ids);

  for (const Member& member : group.members) {
    const Kernel& kernel = program.kernels[member.kernel];
    for (size_t i = 0; i < kernel.buffers.size(); ++i) {
      int64_t& size = merged.kernel.buffers[i].size_elems;
      size = std::min(size, kernel.buffers[i].size_elems);
    }
    for (size_t i = 0; i < kernel.scratch.size(); ++i) {
      int64_t& size = merged.kernel.scratch[i].size_elems;
      size = std::max(size, kernel.scratch[i].size_elems);
    }
  }
  return merged;
}

/// The groups in the order of their first members.
std::vector<Group> group_kernels(const Program& program) {
  std::vector<Group> groups;
  std::unordered_map<std::string, size_t> by_text;
  for (int i = 0; i < static_cast<int>(program.kernels.size()); ++i) {
    Lifted lifted = Lifting(canonicalize(program.kernels[i])).take();
    Kernel without_sizes = lifted.kernel;
    for (Scratch& scratch : without_sizes.scratch) scratch.size_elems = 0;
    const auto [it, is_new] = by_text.emplace(anonymous_text(without_sizes), groups.size());
    if (is_new) groups.push_back({std::move(lifted.kernel), {}});
    groups[it->second].members.push_back({i, std::move(lifted.literals)});
  }
  return groups;
}

}  // namespace

Program parameterize(Program program) {
  std::vector<Kernel> kernels;
  std::vector<int> new_numbers(program.kernels.size());
  std::vector<std::vector<int64_t>> more_params(program.kernels.size());
  for (const Group& group : group_kernels(program)) {
    const auto number = static_cast<int>(kernels.size());
    if (group.members.size() == 1) {
      const int only = group.members[0].kernel;
      new_numbers[only] = number;
      kernels.push_back(program.kernels[only]);
      continue;
    }
    Merged merged = merge(group, program);
    for (size_t m = 0; m < group.members.size(); ++m) {
      new_numbers[group.members[m].kernel] = number;
      more_params[group.members[m].kernel] = std::move(merged.params[m]);
    }
    kernels.push_back(std::move(merged.kernel));
  }
  for (Step& step : program.steps) {
    auto* call = std::get_if<KernelCall>(&step);
    if (!call) continue;
    const std::vector<int64_t>& more = more_params[call->kernel];
    call->params.insert(call->params.end(), more.begin(), more.end());
    call->kernel = new_numbers[call->kernel];
  }
  program.kernels = std::move(kernels);
  return program;
}

}  // namespace corf::loop
