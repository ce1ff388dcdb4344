#!/bin/sh
# Ranks of one training run by torchrun, which gives each RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR
# and MASTER_PORT. --no-python: the program is tristill-worker itself.
#
#   configs/launch/torchrun.sh JOB_DIRECTORY                              2 ranks on this machine
#   NODES=2 NODE=0 MASTER=host0 configs/launch/torchrun.sh JOB_DIRECTORY  on each of 2 machines,
#                                                                         with its own NODE
# JOB_DIRECTORY is on a file system that all machines see, at one path.
set -eu
exec torchrun --no-python \
  --nnodes "${NODES:-1}" --node-rank "${NODE:-0}" --nproc-per-node "${RANKS:-2}" \
  --master-addr "${MASTER:-127.0.0.1}" --master-port "${PORT:-29500}" --max-restarts 0 \
  tristill-worker "$1"
