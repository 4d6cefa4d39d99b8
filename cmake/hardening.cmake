# What makes a fault in memory hard to use, for all that is built here. tests/hardening reads it off
# the files.

# Tables of addresses are read-only once a program runs, and no stack is executed.
add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack)

# Stacks that notice being overwritten, and functions of the C library that know the sizes of their
# targets. Off for packagers, whose own flags say it; scripts/build and scripts/test switch it on.
option(CORF_HARDEN "Compile with stack protector and _FORTIFY_SOURCE" OFF)
if(CORF_HARDEN)
  add_compile_options(-fstack-protector-strong)
  # Only the optimiser knows the sizes, and the sanitizers have checks of their own.
  set(fortify_level 2)
  if((CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12)
     OR (CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 15))
    set(fortify_level 3)
  endif()
  if(NOT CORF_SANITIZE)
    add_compile_options($<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE>
                        $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=${fortify_level}>)
  endif()
endif()

# corf_relocatable(TARGET FOLDER...): finds its libraries relative to itself, wherever it is put.
# FOLDER: of the libraries, seen from the file as it is built or installed. Both have the same list:
# CMake would end one that it replaces while installing with an empty name, the current folder.
function(corf_relocatable target)
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "${ARGN}" BUILD_WITH_INSTALL_RPATH ON)
endfunction()
