# Each ISA file is compiled for its ISA alone; dispatch.cpp picks one at run time. To be included
# where the target is defined that has the sources.
set(KERNELS ${CMAKE_CURRENT_LIST_DIR})
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64")
  set_source_files_properties(${KERNELS}/avx2.cpp PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
  set_source_files_properties(${KERNELS}/avxvnni.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx2;-mfma;-mf16c;-mavxvnni")
  set_source_files_properties(${KERNELS}/avx512.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mfma;-mf16c")
  set_source_files_properties(${KERNELS}/avx512vbmi.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mavx512vbmi;-mfma;-mf16c")
  # Registers hold the tiles: no guard words between arrays that live there.
  set_property(SOURCE ${KERNELS}/avx2.cpp ${KERNELS}/avxvnni.cpp ${KERNELS}/avx512.cpp
               ${KERNELS}/avx512vbmi.cpp
               APPEND PROPERTY COMPILE_OPTIONS -fno-stack-protector -O3)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC 12's own headers pass undefined vectors to fully masked builtins and then warn of it.
    set_property(SOURCE ${KERNELS}/avx512.cpp ${KERNELS}/avx512vbmi.cpp
                 APPEND PROPERTY COMPILE_OPTIONS -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set_source_files_properties(${KERNELS}/neon.cpp PROPERTIES COMPILE_OPTIONS
    "-march=armv8.2-a+dotprod")
  set_source_files_properties(${KERNELS}/neoni8mm.cpp PROPERTIES COMPILE_OPTIONS
    "-march=armv8.2-a+dotprod+i8mm")
  set_property(SOURCE ${KERNELS}/neon.cpp ${KERNELS}/neoni8mm.cpp
               APPEND PROPERTY COMPILE_OPTIONS -fno-stack-protector -O3)
endif()
