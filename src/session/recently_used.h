#pragma once
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

namespace corf::session {

/// The `capacity` values used last, by key. Not synchronised.
template <typename Value>
class RecentlyUsed {
 public:
  explicit RecentlyUsed(size_t capacity) : capacity_(capacity) {}

  /// Null if it is not held.
  std::shared_ptr<Value> find(const std::string& key) {
    auto it = positions_.find(key);
    if (it == positions_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, it->second);
    return it->second->second;
  }

  /// `key` must not be held.
  void insert(const std::string& key, std::shared_ptr<Value> value) {
    entries_.emplace_front(key, std::move(value));
    positions_[key] = entries_.begin();
    if (entries_.size() > capacity_) {
      positions_.erase(entries_.back().first);
      entries_.pop_back();
    }
  }

  void clear() {
    entries_.clear();
    positions_.clear();
  }
  size_t size() const { return entries_.size(); }

 private:
  using Entries = std::list<std::pair<std::string, std::shared_ptr<Value>>>;
  size_t capacity_;
  Entries entries_;  // the last used first
  std::unordered_map<std::string, typename Entries::iterator> positions_;
};

}  // namespace corf::session
