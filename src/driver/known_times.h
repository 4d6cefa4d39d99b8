#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "support/result.h"
#include "target/machine.h"

struct sqlite3;
struct sqlite3_stmt;

namespace corf::driver {

/// Times that tunings have measured, in a file (SQLite) that all of the user's processes share:
/// what was measured once, by a tuning that was interrupted or for another model with the same
/// kernels, is not measured again. An entry counts for this kind of CPU, this number of threads and
/// this very build of the library. Each is on disk when `insert` returns. Test:
/// tests/driver/known_times_test.cpp
class KnownTimes {
 public:
  /// Opens `folder`/times.sqlite, or makes it, and starts it anew where it is damaged. `refresh`:
  /// nothing is found in it, so that all is measured again and replaced.
  /// Errors: kIo if the folder or the file cannot be made.
  static Result<std::unique_ptr<KnownTimes>> open(const std::string& folder, const Machine& machine,
                                                  bool refresh = false);
  /// Without a file: nothing is found or kept.
  KnownTimes() = default;
  ~KnownTimes();
  KnownTimes(const KnownTimes&) = delete;
  KnownTimes& operator=(const KnownTimes&) = delete;

  /// `kernels`: the text that tells programs of equal speed. Milliseconds.
  std::optional<double> find(std::string_view kernels) const;
  void insert(std::string_view kernels, double time_ms) const;

 private:
  KnownTimes(std::string machine, bool refresh) : machine_(std::move(machine)), refresh_(refresh) {}
  int prepare(const std::string& file);
  void close();
  std::string key_of(std::string_view kernels) const;

  std::string machine_;
  bool refresh_ = false;
  sqlite3* database_ = nullptr;
  sqlite3_stmt* find_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
};

}  // namespace corf::driver
