// LLVM takes random numbers for names of files from here. The C library has this function
// since 2.36 only: with one of our own the wheel runs on systems that have 2.34.
#include <cstdint>
#include <sys/random.h>

extern "C" uint32_t arc4random() noexcept {
  uint32_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) __builtin_trap();
  return number;
}
