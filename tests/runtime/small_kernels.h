#pragma once
#include <cstddef>
#include <sstream>
#include <string>
#include <utility>

#include "runtime/image.h"

namespace corf::runtime {

/// Entries of small_kernels().
enum SmallKernel { kAddParam, kMirror, kScratch, kPower };

/// Kernels small enough to write down, x86-64 with SSE2, p being the partition.
inline Image small_kernels() {
  // buffers[1][p] = buffers[0][p] + params[0], in f32
  const char* add_param =
      "48 8b 06 "           // mov rax, [rsi]
      "4c 8b 4e 08 "        // mov r9, [rsi+8]
      "f3 48 0f 2a 02 "     // cvtsi2ss xmm0, qword [rdx]
      "f3 0f 58 04 88 "     // addss xmm0, [rax+rcx*4]
      "f3 41 0f 11 04 89 "  // movss [r9+rcx*4], xmm0
      "c3";                 // ret
  // buffers[1][p] = buffers[0][p] + buffers[0][params[0] - 1 - p], in f32
  const char* mirror =
      "48 8b 06 "           // mov rax, [rsi]
      "4c 8b 4e 08 "        // mov r9, [rsi+8]
      "f3 0f 10 04 88 "     // movss xmm0, [rax+rcx*4]
      "48 8b 12 "           // mov rdx, [rdx]
      "48 29 ca "           // sub rdx, rcx
      "f3 0f 58 44 90 fc "  // addss xmm0, [rax+rdx*4-4]
      "f3 41 0f 11 04 89 "  // movss [r9+rcx*4], xmm0
      "c3";                 // ret
  // buffers[0][p] = address of the scratch; buffers[1][p] = its first 8 bytes, which become p
  const char* scratch =
      "48 8b 06 "     // mov rax, [rsi]
      "4c 89 04 c8 "  // mov [rax+rcx*8], r8
      "4d 8b 08 "     // mov r9, [r8]
      "48 8b 46 08 "  // mov rax, [rsi+8]
      "4c 89 0c c8 "  // mov [rax+rcx*8], r9
      "49 89 08 "     // mov [r8], rcx
      "c3";           // ret
  // buffers[1][p] = context->math[0](buffers[0][p], params[0] taken as f64), in f64
  const char* power =
      "48 8b 06 "        // mov rax, [rsi]
      "4c 8b 4e 08 "     // mov r9, [rsi+8]
      "f2 0f 10 04 c8 "  // movsd xmm0, [rax+rcx*8]
      "f2 0f 10 0a "     // movsd xmm1, [rdx]
      "4d 8d 14 c9 "     // lea r10, [r9+rcx*8]
      "41 52 "           // push r10
      "ff 17 "           // call [rdi]
      "41 5a "           // pop r10
      "f2 41 0f 11 02 "  // movsd [r10], xmm0
      "c3";              // ret
  Image image;
  image.isa = "sse2";
  for (const auto& [name, code] : {std::pair{"add_param", add_param}, std::pair{"mirror", mirror},
                                   std::pair{"scratch", scratch}, std::pair{"power", power}}) {
    image.entries.push_back({name, static_cast<int64_t>(image.bytes.size())});
    std::istringstream hex(code);
    for (unsigned byte; hex >> std::hex >> byte;) image.bytes.push_back(std::byte(byte));
    image.bytes.resize((image.bytes.size() + 15) / 16 * 16, std::byte(0xcc));  // int3
  }
  return image;
}

}  // namespace corf::runtime
