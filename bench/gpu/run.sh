#!/usr/bin/env bash
# Tests and measures the GPU's backend, and the trainer's, on a machine with an NVIDIA GPU.
#
#   bench/gpu/run.sh [OUT]           builds the cuda preset where it is not built, runs cuda_test,
#                                    then tristill-bench; figures go to OUT (build/gpu)
#   bench/gpu/run.sh --train [OUT]   builds the worker against the libtorch of this machine's
#                                    python3, tests the trainer's operations on the GPU, then times
#                                    steps of the 100M student with a top-K teacher (tokens a
#                                    second, MFU), also without kernels of ours, and of a 6.7B
#   bench/gpu/run.sh --pack FOLDER   builds, then puts the programs and the libraries they need into
#                                    FOLDER, for a machine without compilers: FOLDER/run.sh OUT
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

here=$PWD

machine() {
  date -u +%F
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
}

# A 6.7B's latents, momenta and gradients are 80 GB in fp32: its batch is one row at a time.
train() {
  local out=$1
  cd ../..
  cmake --preset cuda -B build/cuda-train --log-level=WARNING \
    -DCMAKE_PREFIX_PATH="$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')"
  cmake --build build/cuda-train --target train_test tristill-train-steps
  mkdir -p "$out"
  machine | tee "$out/machine.txt"
  build/cuda-train/bin/train_test --gtest_filter='Device*:CudaTrainer*' | tee "$out/train_test.txt"
  local steps=build/cuda-train/bin/tristill-train-steps
  for k in 0 20; do
    $steps configs/models/distillix-100m.json --device cuda --batch-tokens 65536 \
      --sequence-length 1024 --teacher-k $k | tee "$out/train-100m-k$k.json"
  done
  $steps configs/models/distillix-100m.json --device cuda --batch-tokens 65536 --aten |
    tee "$out/train-100m-aten.json"
  $steps configs/models/distillix-100m.json --device cuda --batch-tokens 65536 --keep-softcap |
    tee "$out/train-100m-softcap.json"
  $steps configs/models/bitnet-kde-6.7b.json --device cuda --batch-tokens 1024 \
    --sequence-length 1024 --warmup 1 --steps 2 | tee "$out/train-6.7b.json"
}

if [ "${1:-}" = --train ]; then
  train "${2:-build/gpu}"
  exit
fi

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
machine | tee "$out/machine.txt"
"$programs/cuda_test" | tee "$out/cuda_test.txt"
for shape in 100m 700m 2b; do
  "$programs/tristill-bench" --device cuda --shape $shape -s 1,16,64,256 -t 1 -p 512 -n 128 -r 7 \
    -f json | tee "$out/$shape.json"
done
