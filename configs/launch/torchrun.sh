#!/bin/sh
# Ranks of one training run by torchrun, which gives each RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR
# and MASTER_PORT. --no_python: the program is tristill-worker itself.
#
#   configs/launch/torchrun.sh JOB_DIRECTORY                              2 ranks on this machine
#   NODES=2 NODE=0 MASTER=host0 configs/launch/torchrun.sh JOB_DIRECTORY  on each of 2 machines,
#                                                                         with its own NODE
# JOB_DIRECTORY is on a file system that all machines see, at one path. torchrun takes the port
# PORT of MASTER, the ranks the one after it: torchrun's own store understands the libtorch of its
# own version only, so rank 0 serves another.
#
# SIGTERM to torchrun stops the ranks after a checkpoint, for which they have two minutes; half a
# minute where torch is too old for TORCH_ELASTIC_SHUTDOWN_TIMEOUT, which 2.13 knows. torchrun ends
# with 1 whenever a rank did not end with 0.
# That of Debian 12 (1.13, with Python 3.11) runs with PET_REDIRECTS=1 PET_TEE=1 in the environment.
set -eu
port=${PORT:-29500}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-120}"
exec torchrun --no_python \
  --nnodes "${NODES:-1}" --node_rank "${NODE:-0}" --nproc_per_node "${RANKS:-2}" \
  --master_addr "${MASTER:-127.0.0.1}" --master_port "$port" --max_restarts 0 \
  env TORCHELASTIC_USE_AGENT_STORE=False MASTER_PORT="$((port + 1))" tristill-worker "$1"
