#include "loop/passes/parameterize.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "loop/kernel_key.h"
#include "loop/passes/lift_literals.h"
#include "loop/renumber.h"
#include "loop/visit.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::loop {
namespace {

struct Member {
  int kernel = 0;
  std::vector<Literal> literals;
};

/// Kernels that are equal once lifted.
struct Group {
  std::string key;  // without sizes of scratch, nor how loops are unrolled
  Kernel lifted;    // of the first member
  std::vector<Member> members;
};

using Values = std::vector<int64_t>;  // of a kernel's literals

Values values_of(const Member& member) {
  Values values;
  for (const Literal& literal : member.literals) values.push_back(literal.value);
  return values;
}

/// What becomes of a literal: a constant, or the parameter that it shares with those that have
/// always had its value.
struct Role {
  int param = -1;  // -1: constant
  int64_t value = 0;
};

/// Literals that agree everywhere stay constants; those that always have the same values share a
/// parameter.
std::vector<Role> roles_of(const std::vector<Values>& members) {
  std::vector<Role> roles;
  std::map<Values, int> param_of;
  for (size_t i = 0; i < members.front().size(); ++i) {
    Values column;
    for (const Values& values : members) column.push_back(values[i]);
    if (std::count(column.begin(), column.end(), column[0]) == std::ssize(column)) {
      roles.push_back({-1, column[0]});
      continue;
    }
    const auto next = static_cast<int>(param_of.size());
    roles.push_back({param_of.emplace(std::move(column), next).first->second, 0});
  }
  return roles;
}

/// The parameters with which the literals have these values; nullopt if there are none.
std::optional<Values> params_for(const std::vector<Role>& roles, const Values& values) {
  Values params;
  for (size_t i = 0; i < roles.size(); ++i) {
    const Role& role = roles[i];
    if (role.param < 0) {
      if (role.value != values[i]) return std::nullopt;
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
    auto params = params_for(version.roles, values_of(member));
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

Version make_version(const Group& group, const std::vector<Values>& members,
                     const Program& program) {
  Version version{roles_of(members), {}};
  if (members.size() == 1) {
    version.kernel = program.kernels[group.members[0].kernel];
  } else {
    version.kernel = with_roles(group, version.roles);
  }
  fit_sizes(group, program, version.kernel);
  return version;
}

Merged merge(const Group& group, const Program& program, Family& family) {
  for (const Version& version : family.versions) {
    if (auto merged = as_version(version, group, program)) return std::move(*merged);
  }
  for (const Member& member : group.members) {
    Values values = values_of(member);
    if (std::find(family.members.begin(), family.members.end(), values) == family.members.end()) {
      family.members.push_back(std::move(values));
    }
  }

  Version version = make_version(group, family.members, program);
  if (!family.versions.empty()) {
    for (Scratch& scratch : version.kernel.scratch) {
      scratch.size_elems = with_room(scratch.size_elems);
    }
  }
  auto drop_first = [](auto& list, size_t most) {
    if (list.size() > most) list.erase(list.begin(), list.end() - std::ssize(list) / 2);
  };
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
    if (literal.costs) text += fmt::format(" {}", literal.value);
  }
  return text;
}

/// The groups in the order of their first members.
std::vector<Group> group_kernels(const Program& program) {
  std::vector<Group> groups;
  std::unordered_map<std::string, size_t> by_key;
  for (int i = 0; i < static_cast<int>(program.kernels.size()); ++i) {
    Lifted lifted = lift_literals(program.kernels[i]);
    std::string family = family_key(lifted.kernel);
    const auto [it, is_new] = by_key.emplace(key_in_program(family, lifted), groups.size());
    if (is_new) groups.push_back({std::move(family), std::move(lifted.kernel), {}});
    groups[it->second].members.push_back({i, std::move(lifted.literals)});
  }
  return groups;
}

}  // namespace

struct KnownKernels::Families {
  std::mutex mutex;
  std::unordered_map<std::string, Family> by_key;
};

KnownKernels::KnownKernels() : families_(std::make_unique<Families>()) {}
KnownKernels::~KnownKernels() = default;

Program parameterize(Program program, KnownKernels* known) {
  KnownKernels::Families none;
  KnownKernels::Families& earlier = known == nullptr ? none : *known->families_;
  const std::lock_guard lock(earlier.mutex);
  auto& families = earlier.by_key;
  if (families.size() > kMostFamilies) families.clear();
  std::vector<Kernel> kernels;
  std::vector<int> new_numbers(program.kernels.size());
  std::vector<Values> more_params(program.kernels.size());
  for (const Group& group : group_kernels(program)) {
    const auto number = static_cast<int>(kernels.size());
    Merged merged = merge(group, program, families[group.key]);
    for (size_t m = 0; m < group.members.size(); ++m) {
      new_numbers[group.members[m].kernel] = number;
      more_params[group.members[m].kernel] = std::move(merged.params[m]);
    }
    kernels.push_back(std::move(merged.kernel));
  }
  for (Step& step : program.steps) {
    auto* call = std::get_if<KernelCall>(&step);
    if (!call) continue;
    const Values& more = more_params[call->kernel];
    call->params.insert(call->params.end(), more.begin(), more.end());
    call->kernel = new_numbers[call->kernel];
  }
  program.kernels = std::move(kernels);
  return program;
}

}  // namespace corf::loop
