# Each folder of src/ is one object library; which folders may include which is checked by
# tests/layering. Symbols keep default visibility here: the shared libraries hide them with a
# version script, so that tests can reach the inside.
set(CORF_FOLDERS "" CACHE INTERNAL "")

add_library(corf_options INTERFACE)
target_compile_features(corf_options INTERFACE cxx_std_20)
target_include_directories(corf_options INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_compile_options(corf_options INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers -ffp-contract=off)
target_link_libraries(corf_options INTERFACE fmt::fmt spdlog::spdlog_header_only nlohmann_json::nlohmann_json Threads::Threads ZLIB::ZLIB)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports false positives inside std::variant and std::vector at -O2.
  target_compile_options(corf_options INTERFACE -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow
                         -Wno-stringop-overread -Wno-restrict -Wno-dangling-pointer)
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Inside GCC 12's standard library.
  target_compile_options(corf_options INTERFACE -Wno-deprecated-declarations)
endif()
foreach(sanitizer ${CORF_SANITIZE})
  target_compile_options(corf_options INTERFACE -fsanitize=${sanitizer} -fno-omit-frame-pointer)
  target_link_options(corf_options INTERFACE -fsanitize=${sanitizer})
endforeach()
if("fuzzer-no-link" IN_LIST CORF_SANITIZE)
  # What an execution costs decides how many there are. Operands of comparisons say nothing about
  # bytes that only choose between things (tests/fuzz/choices.h). The first report ends the process,
  # so that code need not go on behind one. Null pointers and objects that are gone are noticed by
  # AddressSanitizer where they are used.
  target_compile_options(corf_options INTERFACE -fno-sanitize-recover=all -fno-sanitize=null,vptr
                         -fno-sanitize-coverage=trace-cmp,indirect-calls,stack-depth)
endif()

function(corf_folder name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp
       ${CMAKE_SOURCE_DIR}/src/${name}/*/*.cpp)
  if(sources)
    add_library(corf_${name} OBJECT ${sources})
    target_link_libraries(corf_${name} PUBLIC corf_options)
  else()
    add_library(corf_${name} INTERFACE)
  endif()
  set(CORF_FOLDERS ${CORF_FOLDERS} ${name} CACHE INTERNAL "")
endfunction()

# corf_small(TARGET): code that runs once for a model, whose size matters more than its speed. At -O3 it
# is twice as large.
function(corf_small target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-Os>)
endfunction()

# Our own wire-compatible subset of ONNX's messages, in a private protobuf package.
function(corf_onnx_proto target)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY" OR NOT EXISTS ${CMAKE_SOURCE_DIR}/src/onnx/model.proto)
    return()
  endif()
  set(out ${CMAKE_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${out}/onnx)
  add_custom_command(
    OUTPUT ${out}/onnx/model.pb.cc ${out}/onnx/model.pb.h
    COMMAND protobuf::protoc --cpp_out=${out} -I ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/src/onnx/model.proto
    DEPENDS ${CMAKE_SOURCE_DIR}/src/onnx/model.proto)
  set_source_files_properties(${out}/onnx/model.pb.cc PROPERTIES COMPILE_OPTIONS "-w")
  target_sources(${target} PRIVATE ${out}/onnx/model.pb.cc ${out}/onnx/model.pb.h)
  target_include_directories(${target} SYSTEM PUBLIC ${out} ${Protobuf_INCLUDE_DIRS})
endfunction()

function(corf_use_llvm target)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY")
    return()
  endif()
  target_include_directories(${target} SYSTEM PUBLIC ${LLVM_INCLUDE_DIRS})
  separate_arguments(definitions NATIVE_COMMAND ${LLVM_DEFINITIONS})
  target_compile_definitions(${target} PUBLIC ${definitions})
  target_compile_options(${target} PRIVATE -fno-rtti -Wno-unused-parameter)
endfunction()

function(corf_objects out)
  set(objects "")
  foreach(name ${ARGN})
    get_target_property(type corf_${name} TYPE)
    if(type STREQUAL "OBJECT_LIBRARY")
      list(APPEND objects $<TARGET_OBJECTS:corf_${name}>)
    endif()
  endforeach()
  set(${out} ${objects} PARENT_SCOPE)
endfunction()

# What libcorf_runtime is made of: no folder that needs LLVM or protobuf.
set(CORF_RUNTIME_FOLDERS support tensor target runtime session deploy)

# corf_shared_library(TARGET NAME FOLDER...): lib${NAME}.so in the build folder, which exports corf_*
# only. LLVM's objects have a section for each function; what nothing refers to is left out, and
# functions with equal instructions are one.
function(corf_shared_library target name)
  corf_objects(objects ${ARGN})
  add_library(${target} SHARED ${objects})
  target_link_libraries(${target} PRIVATE corf_options)
  target_include_directories(${target} INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
                             $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  # Of corf.hpp; corf.h is C99.
  target_compile_features(${target} INTERFACE cxx_std_17)
  target_link_options(${target} PRIVATE -Wl,--exclude-libs,ALL -Wl,--gc-sections
    -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/exports.map)
  if(CORF_LLD AND NOT CORF_SANITIZE)
    # LLVM compares no addresses of functions, nor does anything here.
    target_link_options(${target} PRIVATE -Wl,--icf=all)
  endif()
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} VERSION ${PROJECT_VERSION}
                        SOVERSION ${PROJECT_VERSION_MAJOR} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}
                        LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/exports.map)
  corf_relocatable(${target} "$ORIGIN")
endfunction()

# What code generation links with.
function(corf_llvm_libraries out)
  llvm_map_components_to_libnames(libraries core support passes mc object
    x86asmparser x86codegen x86desc x86info bitwriter)
  set(${out} ${libraries} PARENT_SCOPE)
endfunction()

# libcorf: everything, LLVM linked into it once.
# libcorf_runtime: loads and runs compiled files, nothing else.
# corf_inside: the same objects with every symbol visible, for tests and benchmarks.
function(corf_libraries)
  corf_llvm_libraries(llvm_libraries)
  # The lite runtime keeps no table of descriptors, so that another protobuf in the process does no
  # harm; Debian's static archive is not position-independent.
  find_library(protobuf_lite NAMES protobuf-lite REQUIRED)

  # deploy/ stands in for api/ where there is no compiler.
  set(folders ${CORF_FOLDERS})
  list(REMOVE_ITEM folders deploy)
  corf_objects(all ${folders})
  add_library(corf_inside SHARED ${all})
  target_link_libraries(corf_inside PUBLIC corf_options ${protobuf_lite} PRIVATE ${llvm_libraries} ${CORF_SQLITE})
  target_link_options(corf_inside PRIVATE -Wl,--exclude-libs,ALL)
  foreach(name ${CORF_FOLDERS})
    target_include_directories(corf_inside SYSTEM PUBLIC $<TARGET_PROPERTY:corf_${name},INTERFACE_SYSTEM_INCLUDE_DIRECTORIES>)
  endforeach()
  target_include_directories(corf_inside SYSTEM PUBLIC ${CMAKE_BINARY_DIR}/generated)

  corf_shared_library(corf corf ${folders})
  target_link_libraries(corf PRIVATE ${llvm_libraries} ${protobuf_lite} ${CORF_SQLITE})
  corf_shared_library(corf_runtime_only corf_runtime ${CORF_RUNTIME_FOLDERS})
  set_target_properties(corf_runtime_only PROPERTIES EXPORT_NAME runtime)
  add_library(corf::corf ALIAS corf)
  add_library(corf::runtime ALIAS corf_runtime_only)
endfunction()
