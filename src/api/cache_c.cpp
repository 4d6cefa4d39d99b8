#include <algorithm>
#include <cstring>

#include "api/model_compiler.h"
#include "driver/executable_cache.h"

using corf::Result;
using corf::Status;
using corf::driver::CacheContents;
using corf::driver::ExecutableCache;
using corf::session::guarded;

namespace {

/// `folder`: as option executable_cache takes it.
ExecutableCache cache_in(const char* folder) {
  corf::session::Options options;
  options.executable_cache = folder;
  return {corf::api::cache_folder(options), options.executable_cache_bytes};
}

Status tell(const Result<CacheContents>& found, corf_cache_contents* contents, size_t size_bytes) {
  if (!found.ok()) return found.error();
  const corf_cache_contents result{static_cast<size_t>(found->num_entries), found->size_bytes};
  std::memcpy(contents, &result, std::min(sizeof result, size_bytes));
  return {};
}

}  // namespace

extern "C" {

corf_error* corf_executable_cache_folder(char** folder) {
  return guarded({{folder, "folder"}}, [&]() -> Status {
    const std::string text = ExecutableCache::default_folder();
    auto* copy = new char[text.size() + 1];
    std::memcpy(copy, text.c_str(), text.size() + 1);
    *folder = copy;
    return {};
  });
}

corf_error* corf_executable_cache_contents(const char* folder, corf_cache_contents* contents,
                                           size_t contents_size_bytes) {
  return guarded({{folder, "folder"}, {contents, "contents"}},
                 [&] { return tell(cache_in(folder).contents(), contents, contents_size_bytes); });
}

corf_error* corf_executable_cache_clear(const char* folder, corf_cache_contents* removed,
                                        size_t removed_size_bytes) {
  return guarded({{folder, "folder"}, {removed, "removed"}},
                 [&] { return tell(cache_in(folder).clear(), removed, removed_size_bytes); });
}

}  // extern "C"
