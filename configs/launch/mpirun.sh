#!/bin/sh
# Ranks of one training run by Open MPI's mpirun, which gives each OMPI_COMM_WORLD_RANK, _SIZE and
# _LOCAL_RANK. Open MPI only starts the processes: they talk through Gloo.
#
#   configs/launch/mpirun.sh JOB_DIRECTORY                             2 ranks on this machine
#   HOSTS=host0:2,host1:2 RANKS=4 MASTER=host0 configs/launch/mpirun.sh JOB_DIRECTORY
#
# JOB_DIRECTORY is on a file system that all machines see, at one path. MASTER is the machine of
# rank 0: the first of HOSTS. --bind-to none: a rank has as many threads as the job's threads say.
#
# SIGTERM and SIGINT to this script stop the ranks after a checkpoint, with exit code 75. mpirun
# kills its ranks a second after its own SIGTERM, but passes SIGUSR1 on, which they take as well.
set -eu
setsid mpirun -n "${RANKS:-2}" --host "${HOSTS:-localhost:${RANKS:-2}}" --bind-to none \
  -x MASTER_ADDR="${MASTER:-127.0.0.1}" -x MASTER_PORT="${PORT:-29500}" \
  tristill-worker "$1" &
mpirun=$!
trap 'kill -USR1 $mpirun' TERM INT
status=0
while kill -0 $mpirun 2>/dev/null; do
  status=0
  wait $mpirun || status=$?
done
exit $status
