# `cmake --install`: the libraries, their headers, the command and its documents. Components: `corf`
# (all that a program needs to be built and run), `corf_runtime` (the library that runs compiled files).
include(CMakePackageConfigHelpers)

install(TARGETS corf corf_command EXPORT corf_targets COMPONENT corf)
install(TARGETS corf_runtime_only EXPORT corf_targets COMPONENT corf_runtime)
install(DIRECTORY include/corf DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT corf)
install(FILES LICENSE README.md CHANGELOG.md SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT corf)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/corf)
configure_package_config_file(cmake/corfConfig.cmake.in ${CMAKE_BINARY_DIR}/corfConfig.cmake
                              INSTALL_DESTINATION ${package_folder} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change what it likes.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/corfConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/corfConfig.cmake ${CMAKE_BINARY_DIR}/corfConfigVersion.cmake
        DESTINATION ${package_folder} COMPONENT corf)
install(EXPORT corf_targets NAMESPACE corf:: FILE corfTargets.cmake DESTINATION ${package_folder} COMPONENT corf)

# The prefix is found from the .pc file's own place, so that the tree may be moved.
set(pkgconfig_folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
           BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig OUTPUT_VARIABLE prefix_from_pkgconfig)
function(corf_pkgconfig name description)
  configure_file(cmake/corf.pc.in ${CMAKE_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${pkgconfig_folder} COMPONENT corf)
endfunction()
corf_pkgconfig(corf "${PROJECT_DESCRIPTION}")
corf_pkgconfig(corf_runtime "Runs what corf has compiled")

# Man pages and completions, written by the command from the tables of its options.
if(NOT CMAKE_CROSSCOMPILING)
  set(documents ${CMAKE_BINARY_DIR}/documents)
  add_custom_command(
    OUTPUT ${documents}/corf.1
    COMMAND corf_command documents ${documents}
    DEPENDS corf_command)
  add_custom_target(corf_documents ALL DEPENDS ${documents}/corf.1)
  install(DIRECTORY ${documents}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT corf
          FILES_MATCHING PATTERN "*.1")
  install(FILES ${documents}/corf.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
          RENAME corf COMPONENT corf)
  install(FILES ${documents}/_corf DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions COMPONENT corf)
endif()
