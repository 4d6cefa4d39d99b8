#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "runtime/image.h"
#include "support/result.h"

namespace corf::codegen {

/// Appends an ELF object's code and constants to the image, with its relocations resolved and an
/// entry for each of `functions`.
/// Errors: kInternal if the object needs a symbol that it does not define or a relocation that is
/// not relative to the code.
Status append_object(std::string_view object, const std::vector<std::string>& functions,
                     runtime::Image& image);

}  // namespace corf::codegen
