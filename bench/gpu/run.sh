#!/usr/bin/env bash
# Tests and measures the GPU's backend on a machine with an NVIDIA GPU.
#
#   bench/gpu/run.sh [OUT]           builds the cuda preset where it is not built, runs cuda_test,
#                                    then tristill-bench; figures go to OUT (build/gpu)
#   bench/gpu/run.sh --pack FOLDER   builds, then puts the programs and the libraries they need into
#                                    FOLDER, for a machine without compilers: FOLDER/run.sh OUT
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

here=$PWD
if [ -x "$here/cuda_test" ]; then  # packed
  programs=$here
  export LD_LIBRARY_PATH=$here/lib
else
  cd ../..
  cmake --preset cuda -DTRISTILL_WORKER=OFF --log-level=WARNING
  cmake --build build/cuda --target cuda_test tristill-bench
  programs=$PWD/build/cuda/bin
fi

if [ "${1:-}" = --pack ]; then
  folder=${2:?the folder to pack into}
  mkdir -p "$folder/lib"
  cp "$programs/cuda_test" "$programs/tristill-bench" "$here/run.sh" "$folder"
  ldd "$programs/cuda_test" "$programs/tristill-bench" | awk '$3 ~ /^\// {print $3}' | sort -u |
    grep -vE '/(libc|libm|libpthread|libdl|librt)\.so' | xargs cp -L -t "$folder/lib"
  exit
fi

out=${1:-build/gpu}
mkdir -p "$out"
{
  date -u +%F
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
} | tee "$out/machine.txt"
"$programs/cuda_test" | tee "$out/cuda_test.txt"
for shape in 100m 700m 2b; do
  "$programs/tristill-bench" --device cuda --shape $shape -s 1,16,64,256 -t 1 -p 512 -n 128 -r 7 \
    -f json | tee "$out/$shape.json"
done
