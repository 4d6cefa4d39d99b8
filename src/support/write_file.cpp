#include "support/write_file.h"

#include <filesystem>
#include <fstream>
#include <system_error>
#include <unistd.h>

namespace corf {

bool write_file_whole(const std::string& file, std::string_view content) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(file).parent_path(), error);
  const std::string unfinished = file + "." + std::to_string(getpid());
  {
    std::ofstream stream(unfinished, std::ios::binary);
    stream << content;
    stream.flush();
    if (!stream) {
      std::filesystem::remove(unfinished, error);
      return false;
    }
  }
  std::filesystem::rename(unfinished, file, error);
  if (!error) return true;
  std::filesystem::remove(unfinished, error);
  return false;
}

}  // namespace corf
