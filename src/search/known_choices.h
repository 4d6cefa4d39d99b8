#pragma once
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "search/choose_strips.h"

namespace corf::search {

/// The choice for a run of groups, as schedules to be carried out on another run's nests.
struct KnownChoice {
  bool legal = false;
  struct Schedules {
    fusion::StripSchedule strips;
    std::vector<fusion::NestSchedule> nests;
    /// Of a stage; nullopt if there are not so many.
    std::optional<fusion::NestSchedule> of(size_t stage) const {
      return stage < nests.size() ? std::optional(nests[stage]) : std::nullopt;
    }
  };
  std::vector<Schedules> best;
};

/// What has been found for runs of groups, for others that are the same but for their names: the
/// equal blocks of a network are searched once. Workers share it.
class KnownChoices {
 public:
  /// The choice for the signature. `search` makes it where nobody has or is about to, in which case
  /// the worker gets what it has found itself, too.
  const KnownChoice& find(const std::string& signature, const std::function<StripChoice()>& search,
                          std::optional<StripChoice>& own);

 private:
  struct Entry {
    std::mutex searching;
    bool found = false;
    KnownChoice choice;
  };
  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

/// Puts runs of groups of the unfused plan into words.
/// Test: tests/search/known_choices_test.cpp
class RunWords {
 public:
  RunWords(const graph::Graph& graph, const fusion::StoragePlan& storage, fusion::WalkCache& cache)
      : graph_(graph), storage_(storage), cache_(cache) {}

  /// All that a search looks at in these groups, put into words: index maps, storage, who else
  /// reads a value. Nodes, values and buffers are numbered as they occur.
  std::string signature(std::span<const fusion::GroupPlan> groups);

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
};

}  // namespace corf::search
