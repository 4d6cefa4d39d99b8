#pragma once
#include <string_view>
#include <sys/stat.h>

namespace corf {

/// "a folder", "a FIFO", ...: for messages.
inline std::string_view kind_of(const struct stat& status) {
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      return "a regular file";
    case S_IFDIR:
      return "a folder";
    case S_IFIFO:
      return "a FIFO";
    case S_IFSOCK:
      return "a socket";
    case S_IFCHR:
    case S_IFBLK:
      return "a device";
    case S_IFLNK:
      return "a symbolic link";
    default:
      return "something unknown";
  }
}

}  // namespace corf
