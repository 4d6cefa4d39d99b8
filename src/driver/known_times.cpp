#include "driver/known_times.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <sqlite3.h>

#include "codegen/content_hash.h"
#include "driver/executable_cache.h"
#include "support/log.h"

namespace corf::driver {
namespace {

constexpr int kMostEntries = 200'000;  // of about 100 bytes
constexpr int kPatience_ms = 10'000;   // while another process writes
constexpr int64_t kDay_s = 24 * 60 * 60;

constexpr const char* kTable =
    "CREATE TABLE IF NOT EXISTS times("
    "  kernels TEXT PRIMARY KEY,"  // hash of their text, the machine and the library
    "  time_ms REAL NOT NULL,"
    "  used_day INTEGER NOT NULL"
    ") WITHOUT ROWID";
constexpr const char* kForgetOldest =
    "DELETE FROM times WHERE kernels IN"
    "  (SELECT kernels FROM times ORDER BY used_day DESC LIMIT -1 OFFSET ?)";
/// An entry that is found is written again on another day only.
constexpr const char* kFind = "SELECT time_ms, used_day FROM times WHERE kernels = ?";
constexpr const char* kInsert = "INSERT OR REPLACE INTO times VALUES(?, ?, ?)";

int64_t today() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count() / kDay_s;
}

Error cannot_write(const std::string& file, std::string_view why) {
  return make_error(ErrorCode::kIo, "cannot write '{}': {}", file, why);
}

}  // namespace

Result<std::unique_ptr<KnownTimes>> KnownTimes::open(const std::string& folder,
                                                     const Machine& machine, bool refresh) {
  std::string words =
      fmt::format("{} {} {} {} {} {} {}", build_id(), machine.cpu_name, to_string(machine.isa),
                  machine.threads, machine.l1_bytes, machine.l2_bytes, machine.l3_bytes);
  std::unique_ptr<KnownTimes> times(new KnownTimes(std::move(words), refresh));
  const std::string file = (std::filesystem::path(folder) / "times.sqlite").string();
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return cannot_write(file, failed.message());
  int status = times->prepare(file);
  if (status == SQLITE_CORRUPT || status == SQLITE_NOTADB) {
    log().warn("'{}' is damaged: what it held is measured again", file);
    times->close();
    std::filesystem::remove(file, failed);
    status = times->prepare(file);
  }
  if (status != SQLITE_OK) return cannot_write(file, sqlite3_errstr(status));
  return times;
}

KnownTimes::~KnownTimes() { close(); }

void KnownTimes::close() {
  sqlite3_finalize(std::exchange(find_, nullptr));
  sqlite3_finalize(std::exchange(insert_, nullptr));
  sqlite3_close(std::exchange(database_, nullptr));
}

int KnownTimes::prepare(const std::string& file) {
  int status =
      sqlite3_open_v2(file.c_str(), &database_,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (status != SQLITE_OK) return status;
  sqlite3_busy_timeout(database_, kPatience_ms);
  status = sqlite3_exec(database_, kTable, nullptr, nullptr, nullptr);
  if (status != SQLITE_OK) return status;
  sqlite3_stmt* forget = nullptr;
  status = sqlite3_prepare_v2(database_, kForgetOldest, -1, &forget, nullptr);
  if (status != SQLITE_OK) return status;
  sqlite3_bind_int(forget, 1, kMostEntries);
  sqlite3_step(forget);
  status = sqlite3_finalize(forget);
  if (status != SQLITE_OK) return status;
  status = sqlite3_prepare_v2(database_, kFind, -1, &find_, nullptr);
  if (status != SQLITE_OK) return status;
  return sqlite3_prepare_v2(database_, kInsert, -1, &insert_, nullptr);
}

std::string KnownTimes::key_of(std::string_view kernels) const {
  codegen::ContentHash hash;
  hash.add(machine_);
  hash.add(kernels);
  return hash.digits();
}

std::optional<double> KnownTimes::find(std::string_view kernels) const {
  if (find_ == nullptr || refresh_) return std::nullopt;
  const std::string key = key_of(kernels);
  sqlite3_bind_text(find_, 1, key.data(), static_cast<int>(key.size()), SQLITE_STATIC);
  std::optional<double> time_ms;
  bool is_old = false;
  if (sqlite3_step(find_) == SQLITE_ROW) {
    time_ms = sqlite3_column_double(find_, 0);
    is_old = sqlite3_column_int64(find_, 1) != today();
  }
  sqlite3_reset(find_);
  if (time_ms && !(std::isfinite(*time_ms) && *time_ms > 0)) return std::nullopt;
  if (time_ms && is_old) insert(kernels, *time_ms);
  return time_ms;
}

void KnownTimes::insert(std::string_view kernels, double time_ms) const {
  if (insert_ == nullptr) return;
  const std::string key = key_of(kernels);
  sqlite3_bind_text(insert_, 1, key.data(), static_cast<int>(key.size()), SQLITE_STATIC);
  sqlite3_bind_double(insert_, 2, time_ms);
  sqlite3_bind_int64(insert_, 3, today());
  sqlite3_step(insert_);
  if (const int status = sqlite3_reset(insert_); status != SQLITE_OK) {
    log().warn("a measured time is not kept: {}", sqlite3_errstr(status));
  }
}

}  // namespace corf::driver
