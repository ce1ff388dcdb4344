# CUDA: floats as the CPU computes them (no contraction), for every GPU that has the integer matrix
# product of model/cuda (compute capability 8.0).
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)
endif()
enable_language(CUDA)
# CMake 3.25.1 does not know that nvcc has C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION --std=c++20)
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION --std=c++20)
find_package(CUDAToolkit REQUIRED)
add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;--expt-relaxed-constexpr>")
