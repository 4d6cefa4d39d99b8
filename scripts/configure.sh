# Sourced by build, fuzz, test and demo, from the repository's root.

# configure FOLDER BUILD_TYPE [CMAKE_ARGUMENT...]: as the preset "release" of CMakePresets.json, in this
# folder. Links run one at a time there, because each link of LLVM's static libraries takes gigabytes
# with debug information.
configure() {
  local folder=$1 build_type=$2
  shift 2
  cmake --preset release -B "$folder" -DCMAKE_BUILD_TYPE="$build_type" "$@" >&2
}
