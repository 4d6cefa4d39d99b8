#include "loop/passes/parameterize.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "loop/kernel_key.h"
#include "loop/passes/seen_literals.h"
#include "loop/renumber.h"
#include "loop/visit.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::loop {
namespace {

struct Member {
  int kernel = 0;
  std::vector<Literal> literals;
  Values values;
};

/// Kernels that are equal once lifted.
struct Group {
  std::string key;  // without sizes of scratch, nor how loops are unrolled
  Kernel lifted;    // of the first member
  std::vector<Member> members;
  const Literals* seen = nullptr;  // null: of this program only
};

/// `partitions`: the most of a call of the kernel.
Values values_of(const std::vector<Literal>& literals, int64_t partitions) {
  Values values;
  for (const Literal& literal : literals) {
    Row row;
    for (int64_t partition = 0; partition < partitions; ++partition) {
      row.push_back(literal.value.is_constant()
                        ? literal.value.constant()
                        : index::evaluate(literal.value, std::span(&partition, 1)));
    }
    const bool same = std::count(row.begin(), row.end(), row[0]) == std::ssize(row);
    if (same) row.resize(1);
    values.push_back(std::move(row));
  }
  return values;
}

/// What becomes of a literal: a constant, or the parameter that it shares with those that have
/// always had its value.
struct Role {
  int param = -1;  // -1: constant
  int64_t value = 0;
};

/// Whether a parameter takes the literal's place before it is known to differ. Bounds of 0 and
/// steps of 1 are mostly that for good.
bool is_open(const Literal& literal) {
  constexpr int64_t kMost = int64_t{1} << 31;  // larger ones stand for no bound at all
  if (!literal.is_outer || literal.costs) return false;
  if (!literal.value.is_constant()) return true;
  const int64_t value = literal.value.constant();
  return (value < -1 || value > 1) && std::abs(value) < kMost;
}

/// Literals that agree everywhere stay constants, but `for_later` programs those that are open or
/// vary; those that always have the same values share a parameter.
std::vector<Role> roles_of(const std::vector<Values>& members, const Group& group, bool for_later) {
  const std::vector<Literal>& literals = group.members[0].literals;
  std::vector<Role> roles;
  std::map<Values, int> param_of;
  int next = 0;
  for (size_t i = 0; i < members.front().size(); ++i) {
    Values column;
    for (const Values& values : members) column.push_back(values[i]);
    const bool same = std::count(column.begin(), column.end(), column[0]) == std::ssize(column);
    if (same && column[0].size() == 1) {
      const bool varies = group.seen != nullptr && group.seen->vary(i) && !literals[i].is_divisor;
      const bool open = for_later && (varies || is_open(literals[i]));
      if (!open || !literals[i].is_inside) {
        roles.push_back(open ? Role{next++, 0} : Role{-1, column[0][0]});
        continue;
      }
    }
    // Two that are equal here by chance have differed in another shape.
    if (group.seen != nullptr) std::ranges::copy(group.seen->of(i), std::back_inserter(column));
    const auto [at, fresh] = param_of.emplace(std::move(column), next);
    if (fresh) ++next;
    roles.push_back({at->second, 0});
  }
  return roles;
}

/// The parameters with which the literals have these values; nullopt if there are none.
std::optional<Values> params_for(const std::vector<Role>& roles, const Values& values) {
  Values params;
  for (size_t i = 0; i < roles.size(); ++i) {
    const Role& role = roles[i];
    if (role.param < 0) {
      if (values[i] != Row{role.value}) return std::nullopt;
    } else if (role.param == std::ssize(params)) {
      params.push_back(values[i]);
    } else if (params[role.param] != values[i]) {
      return std::nullopt;
    }
  }
  return params;
}

std::string unique_name(const std::string& base, const std::vector<std::string>& taken) {
  std::string name = base;
  for (int suffix = 2; std::count(taken.begin(), taken.end(), name) > 0; ++suffix) {
    name = fmt::format("{}_{}", base, suffix);
  }
  return name;
}

/// The group's kernel with these roles of its literals.
Kernel with_roles(const Group& group, const std::vector<Role>& roles) {
  Kernel kernel = group.lifted;
  const auto num_literals = static_cast<int>(roles.size());
  const int first_literal = 1 + kernel.num_params - num_literals;
  std::vector<Expr> replacements;
  std::vector<int> var_of_param;  // the first of the literals that share it
  std::vector<int> new_ids(kernel.var_names.size(), -1);
  int next = 0;
  for (; next < first_literal; ++next) new_ids[next] = next;
  for (int i = 0; i < num_literals; ++i) {
    const int var = first_literal + i;
    if (roles[i].param < 0) {
      replacements.emplace_back(roles[i].value);
      continue;
    }
    if (roles[i].param == std::ssize(var_of_param)) {
      var_of_param.push_back(var);
      kernel.var_names[var] = unique_name(group.members[0].literals[i].name, kernel.var_names);
      new_ids[var] = next++;
    }
    replacements.push_back(Expr::variable(var_of_param[roles[i].param]));
  }
  kernel.num_params = next - 1;
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
  visit(kernel, visitor);
  return renumber_variables(kernel, new_ids);
}

/// Buffers of the least size, scratch of the largest, of the group's kernels.
void fit_sizes(const Group& group, const Program& program, Kernel& kernel) {
  for (const Member& member : group.members) {
    const Kernel& other = program.kernels[member.kernel];
    for (size_t i = 0; i < kernel.buffers.size(); ++i) {
      int64_t& size = kernel.buffers[i].size_elems;
      size = std::min(size, other.buffers[i].size_elems);
    }
    for (size_t i = 0; i < kernel.scratch.size(); ++i) {
      int64_t& size = kernel.scratch[i].size_elems;
      size = std::max(size, other.scratch[i].size_elems);
    }
  }
}

/// A kernel that stands for all of a family whose literals its roles allow.
struct Version {
  std::vector<Role> roles;
  Kernel kernel;
};

/// Kernels that are equal once lifted, of several programs.
struct Family {
  std::vector<Values> members;  // some of the last ones, no two equal
  std::vector<Version> versions;
};

constexpr size_t kMostMembers = 16, kMostVersions = 16, kMostFamilies = 4096;

/// Scratch of later members may be larger. No power of two: rows of several rings would share the
/// sets of a cache.
int64_t with_room(int64_t size_elems) {
  constexpr int64_t kLeast = 256, kApart = 272;
  int64_t room = kLeast;
  while (room < size_elems) room += std::max<int64_t>(room / 2, 16);
  return round_up(room, 16) + kApart;
}

bool has_room_for(const Version& version, const Group& group, const Program& program) {
  return std::all_of(group.members.begin(), group.members.end(), [&](const Member& member) {
    const std::vector<Scratch>& scratch = program.kernels[member.kernel].scratch;
    for (size_t i = 0; i < scratch.size(); ++i) {
      if (scratch[i].size_elems > version.kernel.scratch[i].size_elems) return false;
    }
    return true;
  });
}

/// One kernel for all members of a group, and the values that each member's calls append.
struct Merged {
  Kernel kernel;
  std::vector<Values> params;  // by member
};

std::optional<Merged> as_version(const Version& version, const Group& group,
                                 const Program& program) {
  Merged merged;
  for (const Member& member : group.members) {
    auto params = params_for(version.roles, member.values);
    if (!params) return std::nullopt;
    merged.params.push_back(std::move(*params));
  }
  if (!has_room_for(version, group, program)) return std::nullopt;
  const Kernel& first = program.kernels[group.members[0].kernel];
  merged.kernel = version.kernel;
  merged.kernel.name = first.name;
  for (size_t i = 0; i < merged.kernel.buffers.size(); ++i) {
    merged.kernel.buffers[i] = first.buffers[i];
  }
  fit_sizes(group, program, merged.kernel);
  return merged;
}

Version make_version(const Group& group, const std::vector<Values>& members, const Program& program,
                     bool for_later) {
  Version version{roles_of(members, group, for_later), {}};
  if (members.size() == 1 && !for_later) {
    version.kernel = program.kernels[group.members[0].kernel];
  } else {
    version.kernel = with_roles(group, version.roles);
  }
  fit_sizes(group, program, version.kernel);
  return version;
}

/// `for_later`: what is made is to fit the kernels of later programs.
Merged merge(const Group& group, const Program& program, Family& family, bool for_later) {
  for (const Version& version : family.versions) {
    if (auto merged = as_version(version, group, program)) return std::move(*merged);
  }
  for (const Member& member : group.members) {
    if (std::find(family.members.begin(), family.members.end(), member.values) ==
        family.members.end()) {
      family.members.push_back(member.values);
    }
  }

  Version version = make_version(group, family.members, program, for_later);
  if (for_later) {
    for (Scratch& scratch : version.kernel.scratch) {
      scratch.size_elems = with_room(scratch.size_elems);
    }
  }
  drop_first(family.members, kMostMembers);
  drop_first(family.versions, kMostVersions);
  family.versions.push_back(std::move(version));
  auto merged = as_version(family.versions.back(), group, program);
  CORF_ASSERT(merged, "a version fits what it was made of");
  return std::move(*merged);
}

/// What kernels of a family have in common.
std::string family_key(const Kernel& kernel) {
  return kernel_key(kernel, {.scratch_sizes = true, .unrolling = true});
}

/// What kernels of a family have in common that become one within a program.
std::string key_in_program(const std::string& family, const Lifted& lifted) {
  std::string text = family;
  for (int unroll : lifted.unrolls) text += fmt::format(" {}", unroll);
  for (const Literal& literal : lifted.literals) {
    if (literal.costs) text += fmt::format(" {}", literal.value.constant());
  }
  return text;
}

/// Of the kernel's calls, by kernel.
std::vector<int64_t> most_partitions(const Program& program) {
  std::vector<int64_t> most(program.kernels.size(), 1);
  for (const Step& step : program.steps) {
    const auto* call = std::get_if<KernelCall>(&step);
    if (call) most[call->kernel] = std::max(most[call->kernel], call->partitions);
  }
  return most;
}

/// The names of the nodes that each kernel is called for first.
std::vector<std::string> nodes_of_kernels(const Program& program) {
  std::vector<std::string> nodes(program.kernels.size());
  for (const Step& step : program.steps) {
    const auto* call = std::get_if<KernelCall>(&step);
    if (!call || !nodes[call->kernel].empty()) continue;
    for (const std::string& node : call->nodes) nodes[call->kernel] += node + '\n';
  }
  return nodes;
}

/// Puts down what the first program's kernels have for literals.
void note_literals(const Program& program, SeenLiterals& seen, int64_t lanes) {
  const std::vector<int64_t> partitions = most_partitions(program);
  const std::vector<std::string> nodes = nodes_of_kernels(program);
  for (size_t i = 0; i < program.kernels.size(); ++i) {
    const Lifted lifted = seen.lift(program.kernels[i], nodes[i], lanes);
    seen.add(lifted.kernel, values_of(lifted.literals, partitions[i]));
  }
}

/// The groups in the order of their first members, of the kernels that are not `kept`.
/// `seen`: null where there is no earlier program.
std::vector<Group> group_kernels(const Program& program, const std::vector<bool>& kept,
                                 SeenLiterals* seen, int64_t lanes) {
  const std::vector<std::string> nodes = nodes_of_kernels(program);
  const std::vector<int64_t> partitions = most_partitions(program);
  std::vector<Group> groups;
  std::unordered_map<std::string, size_t> by_key;
  for (int i = 0; i < static_cast<int>(program.kernels.size()); ++i) {
    if (kept[i]) continue;
    Lifted lifted =
        seen ? seen->lift(program.kernels[i], nodes[i], lanes) : lift_literals(program.kernels[i]);
    std::string family = family_key(lifted.kernel);
    const auto [it, is_new] = by_key.emplace(key_in_program(family, lifted), groups.size());
    Values values = values_of(lifted.literals, partitions[i]);
    const Literals* const all = seen ? seen->add(lifted.kernel, values) : nullptr;
    if (is_new) groups.push_back({std::move(family), std::move(lifted.kernel), {}, all});
    groups[it->second].members.push_back({i, std::move(lifted.literals), std::move(values)});
  }
  return groups;
}

/// Appends the rows to the call's parameters, of which there are `num_params`.
void append_params(const Values& rows, int num_params, KernelCall& call) {
  const bool differ =
      std::ssize(call.params) > num_params ||
      std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.size() > 1; });
  std::vector<int64_t> params;
  for (int64_t partition = 0; partition < (differ ? call.partitions : 1); ++partition) {
    const std::span<const int64_t> own = call.params_of(partition, num_params);
    params.insert(params.end(), own.begin(), own.end());
    for (const Row& row : rows) params.push_back(row.size() > 1 ? row[partition] : row[0]);
  }
  call.params = std::move(params);
}

}  // namespace

struct KnownKernels::Families {
  std::mutex mutex;
  std::unordered_map<std::string, Family> by_key;
  SeenLiterals seen;
  std::unordered_set<std::string> of_first;  // keys of the first program's kernels
};

KnownKernels::KnownKernels() : families_(std::make_unique<Families>()) {}
KnownKernels::~KnownKernels() = default;

Program parameterize(Program program, KnownKernels* known, int64_t lanes) {
  KnownKernels::Families none;
  KnownKernels::Families& earlier = known == nullptr ? none : *known->families_;
  const std::lock_guard lock(earlier.mutex);
  auto& families = earlier.by_key;
  if (families.size() > kMostFamilies) families.clear();
  earlier.seen.forget_where_many();
  const bool is_later = !earlier.of_first.empty();
  std::vector<bool> kept(program.kernels.size(), false);
  if (is_later) {
    for (size_t i = 0; i < kept.size(); ++i) {
      kept[i] = earlier.of_first.contains(kernel_key(program.kernels[i]));
    }
  }
  if (known != nullptr && !is_later) note_literals(program, earlier.seen, lanes);
  std::vector<Kernel> kernels;
  std::vector<int> new_numbers(program.kernels.size());
  std::vector<Values> more_params(program.kernels.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    if (!kept[i]) continue;
    new_numbers[i] = static_cast<int>(kernels.size());
    kernels.push_back(program.kernels[i]);
  }
  std::unordered_map<std::string, Family> of_program;
  for (const Group& group :
       group_kernels(program, kept, is_later ? &earlier.seen : nullptr, lanes)) {
    const auto number = static_cast<int>(kernels.size());
    Family& family = (is_later ? families : of_program)[group.key];
    Merged merged = merge(group, program, family, is_later);
    for (size_t m = 0; m < group.members.size(); ++m) {
      new_numbers[group.members[m].kernel] = number;
      more_params[group.members[m].kernel] = std::move(merged.params[m]);
    }
    kernels.push_back(std::move(merged.kernel));
  }
  for (Step& step : program.steps) {
    auto* call = std::get_if<KernelCall>(&step);
    if (!call) continue;
    append_params(more_params[call->kernel], program.kernels[call->kernel].num_params, *call);
    call->kernel = new_numbers[call->kernel];
  }
  program.kernels = std::move(kernels);
  if (known != nullptr && !is_later) {
    for (const Kernel& kernel : program.kernels) earlier.of_first.insert(kernel_key(kernel));
  }
  return program;
}

}  // namespace corf::loop
