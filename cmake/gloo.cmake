# How c10d's Gloo is had: ranks of a training run talk through it. Debian's libtorch 1.13 wants
# libgloo beside it (libgloo-dev); newer ones carry it inside and only want its headers.
#   GLOO_DEFINITIONS  guards of c10d's headers, and our own
#   GLOO_LIBRARY      empty where nothing is to be linked
# Without either, the worker is built for one rank and says so to a job that asks for more.
include(CheckCXXSourceCompiles)
set(GLOO_PROBE "
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
int main() { return c10d::ProcessGroupGloo::createDeviceForHostname(\"127.0.0.1\") == nullptr; }")
set(GLOO_DEFINITIONS USE_DISTRIBUTED USE_C10D_GLOO TRISTILL_GLOO)
list(TRANSFORM GLOO_DEFINITIONS PREPEND -D OUTPUT_VARIABLE CMAKE_REQUIRED_DEFINITIONS)
set(CMAKE_REQUIRED_INCLUDES ${TORCH_INCLUDE_DIRS})
set(CMAKE_REQUIRED_LIBRARIES ${TORCH_LIBRARIES})
set(CMAKE_REQUIRED_QUIET ON)
check_cxx_source_compiles("${GLOO_PROBE}" GLOO_IS_INSIDE_TORCH)
set(GLOO_LIBRARY)
if(NOT GLOO_IS_INSIDE_TORCH)
  find_library(GLOO_FOUND gloo)
  if(GLOO_FOUND)
    set(CMAKE_REQUIRED_LIBRARIES ${TORCH_LIBRARIES} ${GLOO_FOUND})
    check_cxx_source_compiles("${GLOO_PROBE}" GLOO_LINKS)
  endif()
  if(GLOO_LINKS)
    set(GLOO_LIBRARY ${GLOO_FOUND})
  else()
    message(WARNING "c10d's Gloo is not usable (libgloo-dev): the worker knows one rank only")
    set(GLOO_DEFINITIONS)
  endif()
endif()
unset(CMAKE_REQUIRED_DEFINITIONS)
unset(CMAKE_REQUIRED_INCLUDES)
unset(CMAKE_REQUIRED_LIBRARIES)
