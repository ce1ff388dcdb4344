#!/usr/bin/env bash
# Tests and measures the GPU's backend, and the trainer's, on a machine with an NVIDIA GPU.
#
#   bench/gpu/run.sh [OUT]                   builds the cuda preset, runs cuda_test, then
#                                            tristill-bench; figures go to OUT (build/gpu)
#   bench/gpu/run.sh --train [OUT]           builds the worker on the libtorch of python3,
#                                            tests the trainer on the GPU, times steps of students
#   bench/gpu/run.sh --pack FOLDER           builds, then puts the programs and the libraries they
#                                            need into FOLDER, for a machine without compilers
#   bench/gpu/run.sh --pack FOLDER --train   the trainer's programs, too
#   FOLDER/run.sh [--train] [OUT]            there: as the first two, without building
#
# BUILD names another build folder than build/cuda (build/cuda-train with --train). The trainer's
# programs, packed, take libtorch and CUDA's libraries from the torch of that machine's python3,
# which must be of the version that they were built against.
#
# A failed test or measurement does not end the others: they are named at the end, and the status is
# 1. Each has a limit of seconds (below), all together 570. Expected, counted and not measured:
#   machine.txt      the GPU, its driver, the versions of torch
#   cuda_test.txt    the engine's tests: a minute
#   SHAPE.json       tristill-bench of 100m, 700m and 2b: half a minute, one, and two
# and with --train:
#   train_test.txt   the trainer's operations beside the CPU's: a minute
#   train.jsonl      tristill-train-steps, a line each: 100M with a teacher of K = 20, without, by
#                    ATen alone, with attention's soft-cap (20 s each), a 6.7B (2 minutes)
#   job.jsonl        events of a tiny job that tristill-worker runs to its end: half a minute
# log.txt has what was said to stderr, and how long each took.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
failed=()

# The folder of python3's torch, without importing it, which takes seconds.
torch_folder() {
  python3 -c '
import importlib.util, os, sys
torch = importlib.util.find_spec("torch")
print(os.path.realpath(torch.submodule_search_locations[0]) if torch else
      sys.exit("python3 has no torch, whose libtorch the trainer needs"))'
}

torch_version() { sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/version.py"; }

build() {
  local folder=${BUILD:-$root/build/cuda} settings=(-DTRISTILL_WORKER=OFF)
  if $train; then
    folder=${BUILD:-$root/build/cuda-train}
    settings=(-DTRISTILL_WORKER=ON -DCMAKE_PREFIX_PATH="$torch")
  fi
  cmake --preset cuda -B "$folder" --log-level=WARNING "${settings[@]}"
  cmake --build "$folder" --target "${programs[@]}"
  bin=$folder/bin
}

# Libraries that the packed programs load, but torch's with CUDA's and those of the C library.
libraries() {
  find "$pack" -maxdepth 1 -type f -perm -u+x ! -name run.sh -exec ldd {} + |
    awk -v torch="${torch%/*}/" '$3 ~ /^\// && (torch == "/" || index($3, torch) != 1) &&
      $1 !~ /^lib(c|m|pthread|dl|rt|util|gomp)\.so/ {print $3}' | sort -u
}

# The compiler's libraries lie apart, for a machine whose own are older.
pack() {
  local name
  mkdir -p "$pack/lib" "$pack/lib-gcc"
  for name in "${programs[@]}"; do strip -o "$pack/$name" "$bin/$name"; done
  if $train; then
    strip -o "$pack/tristill-tokenizer.so" "$bin/tristill-tokenizer.so"
    cp --parents -t "$pack" configs/models/{distillix-100m,bitnet-kde-6.7b}.json \
      configs/jobs/train-tiny.json
    torch_version >"$pack/built-against.txt"
  fi
  libraries | grep -E '/lib(stdc\+\+|gcc_s)\.so' | xargs cp -L -t "$pack/lib-gcc"
  libraries | grep -vE '/lib(stdc\+\+|gcc_s)\.so' | xargs cp -L -t "$pack/lib"
  cp "$here/run.sh" "$pack"
  du -sh "$pack"
}

# Of packed programs. The path that is there already may name the driver's.
find_libraries() {
  local files=("${programs[@]/#/$here/}")
  ! $train || files+=("$here/tristill-tokenizer.so")
  library_path=$here/lib${torch:+:$torch/lib}${library_path:+:$library_path}
  if not_found "${files[@]}" | grep -qE 'GLIBCXX|CXXABI|libstdc|libgcc_s'; then
    library_path=$here/lib-gcc:$library_path
  fi
  if not_found "${files[@]}" >&2; then exit 69; fi
}

not_found() { LD_LIBRARY_PATH=$library_path ldd "$@" 2>&1 | grep 'not found'; }

describe_machine() {
  date -u +%F
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
  if $train; then
    echo "torch $(torch_version)"
    ! $packed || echo "built against torch $(cat "$here/built-against.txt")"
  fi
}

# attempt SECONDS FILE COMMAND...: what it prints is added to OUT/FILE.
attempt() {
  local limit=$1 file=$out/$2 left=$((570 - SECONDS)) start=$SECONDS status=0
  shift 2
  [ "$limit" -le "$left" ] || limit=$left
  if [ "$limit" -gt 5 ]; then
    LD_LIBRARY_PATH=$library_path timeout -k 5 "$limit" "$@" 2> >(tee -a "$out/log.txt" >&2) |
      tee -a "$file" || status=$?
  else
    status='none, there was no time left'
  fi
  echo "status $status after $((SECONDS - start)) s: $*" | tee -a "$out/log.txt"
  [ "$status" = 0 ] || {
    failed+=("$*")
    return 1
  }
}

measure_engine() {
  attempt 120 cuda_test.txt cuda_test
  local shape
  for shape in 100m 700m 2b; do
    attempt 180 $shape.json tristill-bench --device cuda --shape $shape -s 1,16,64,256 -t 1 \
      -p 512 -n 128 -r 7 -f json
  done
}

# A tiny job on the GPU; the last event says how it ended.
run_job() {
  local folder
  folder=$(mktemp -d)
  python3 - >"$folder/job.json" <<'JOB'
import json, sysconfig
spec = json.load(open("configs/jobs/train-tiny.json")) | {"device": "cuda"}
corpora = [{"source": {"name": "python-stdlib"}, "path": sysconfig.get_path("stdlib") + "/asyncio"}]
print(json.dumps({"id": "ftjob-by-hand", "spec": spec, "corpora": corpora}))
JOB
  attempt 60 log.txt tristill-worker "$folder"
  cp "$folder/events.jsonl" "$out/job.jsonl"
  tail -n 2 "$out/job.jsonl"
  rm -rf "$folder"
}

# A 6.7B's latents, momenta and gradients are 80 GB in fp32: its batch is one row at a time.
measure_trainer() {
  local steps=(tristill-train-steps configs/models/distillix-100m.json --device cuda
    --batch-tokens 65536 --sequence-length 1024)
  attempt 150 train_test.txt train_test --gtest_filter='Device*:CudaTrainer*'
  # Where the whole batch is too much at once: in four parts.
  attempt 60 train.jsonl "${steps[@]}" --teacher-k 20 || {
    steps+=(--micro-batches 4)
    attempt 60 train.jsonl "${steps[@]}" --teacher-k 20
  }
  attempt 60 train.jsonl "${steps[@]}" --teacher-k 0
  attempt 60 train.jsonl "${steps[@]}" --teacher-k 20 --aten
  attempt 60 train.jsonl "${steps[@]}" --teacher-k 20 --keep-softcap
  run_job
  attempt 180 train.jsonl tristill-train-steps configs/models/bitnet-kde-6.7b.json --device cuda \
    --batch-tokens 1024 --sequence-length 1024 --warmup 1 --steps 2
}

train=false pack='' out=build/gpu torch='' library_path=${LD_LIBRARY_PATH:-}
while [ $# -gt 0 ]; do
  case "$1" in
    --train) train=true ;;
    --pack)
      pack=$(readlink -m "${2:?the folder to pack into}")
      shift
      ;;
    -*)
      echo "unknown flag $1; accepted are --train and --pack FOLDER" >&2
      exit 64
      ;;
    *) out=$1 ;;
  esac
  shift
done
out=$(readlink -m "$out")
programs=(cuda_test tristill-bench)
if $train; then
  torch=$(torch_folder)
  if [ -z "$pack" ]; then programs=(); fi
  programs+=(train_test tristill-train-steps tristill-worker)
fi

packed=false
if [ -f "$here/cuda_test" ]; then
  packed=true root=$here bin=$here
  find_libraries
else
  root=$(readlink -f "$here/../..")
fi
cd "$root"
$packed || build
if [ -n "$pack" ]; then
  pack
  exit
fi

set +e  # attempt remembers what failed
SECONDS=0
PATH=$bin:$PATH
mkdir -p "$out"
describe_machine | tee "$out/machine.txt"
if $train; then measure_trainer; else measure_engine; fi
[ ${#failed[@]} -eq 0 ] || {
  printf 'failed: %s\n' "${failed[@]}" | tee -a "$out/log.txt"
  exit 1
}
