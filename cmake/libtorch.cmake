# Finds libtorch: TORCH_LIBRARIES, TORCH_INCLUDE_DIRS, and TORCH_IS_CUDA where it is one for CUDA.
# That one is linked by its files. Its CMake package would ask for every library of the CUDA toolkit
# (pip's torch brings them without what a linker needs), and set nvcc's flags and architectures for
# the whole project. CMAKE_PREFIX_PATH: torch.utils.cmake_prefix_path, or an unpacked libtorch.
#
# libstdc++ goes before libtorch: pip's libtorch.so exports a std::filesystem of its own, and its
# remove_all crashes.
find_library(TORCH_C10_CUDA c10_cuda HINTS ${Torch_DIR}/../../../lib PATH_SUFFIXES ../../lib)
set(TORCH_IS_CUDA OFF)
if(NOT TORCH_C10_CUDA)
  find_package(Torch REQUIRED)
  list(PREPEND TORCH_LIBRARIES stdc++)
  return()
endif()
set(TORCH_IS_CUDA ON)
get_filename_component(TORCH_LIB ${TORCH_C10_CUDA} DIRECTORY)
get_filename_component(TORCH_LIB ${TORCH_LIB} REALPATH)
get_filename_component(TORCH_ROOT ${TORCH_LIB} DIRECTORY)
set(TORCH_INCLUDE_DIRS ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
# Nothing of ours refers to libtorch.so, which brings what runs on the device.
set(TORCH_LIBRARIES stdc++ -Wl,--push-state,--no-as-needed,${TORCH_LIB}/libtorch.so,--pop-state
                    ${TORCH_LIB}/libtorch_cpu.so ${TORCH_LIB}/libc10_cuda.so ${TORCH_LIB}/libc10.so)
message(STATUS "libtorch for CUDA: ${TORCH_ROOT}")
