#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "search/choose_strips.h"

namespace corf::search {

/// What has been found for runs of groups, for others that are the same but for their names: the
/// equal blocks of a network are searched once.
/// Test: tests/search/known_strips_test.cpp
class KnownStrips {
 public:
  KnownStrips(const graph::Graph& graph, const fusion::StoragePlan& storage,
              fusion::WalkCache& cache)
      : graph_(graph), storage_(storage), cache_(cache) {}

  /// All that a search looks at in these groups of the unfused plan, put into words: index maps,
  /// storage, who else reads a value. Nodes, values and buffers are numbered as they occur.
  std::string signature(std::span<const fusion::GroupPlan> groups);

  /// The choice known for the signature, as schedules to be carried out on another run's nests;
  /// null if there is none.
  struct Known {
    bool legal = false;
    struct Schedules {
      fusion::StripSchedule strips;
      std::vector<fusion::NestSchedule> nests;
    };
    std::vector<Schedules> best;
  };
  const Known* find(const std::string& signature) const;
  void add(const std::string& signature, const StripChoice& choice);

 private:
  /// One group's part of a signature, and the values in it, in order.
  struct Words {
    std::string text;
    std::vector<graph::ValueId> values;
  };
  const Words& words(const fusion::GroupPlan& group);
  std::string facts(graph::ValueId value) const;

  const graph::Graph& graph_;
  const fusion::StoragePlan& storage_;
  fusion::WalkCache& cache_;
  std::map<graph::NodeId, Words> words_;  // by the group's first node
  std::map<std::string, Known> known_;
};

}  // namespace corf::search
