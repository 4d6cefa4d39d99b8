# Sourced by build, test and demo, from the repository's root.

# configure FOLDER BUILD_TYPE [CMAKE_ARGUMENT...]: hardened (cmake/hardening.cmake); links run one at a
# time, because each link of LLVM's static libraries takes gigabytes with debug information.
configure() {
  local folder=$1 build_type=$2
  shift 2
  cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE="$build_type" -DCORF_HARDEN=ON \
    -DCMAKE_JOB_POOLS=link=1 -DCMAKE_JOB_POOL_LINK=link "$@" >&2
}
