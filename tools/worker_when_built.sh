#!/usr/bin/env bash
# What the daemon starts as its worker while ./dev serve still builds tristill-worker: waits for
# the build, then becomes the worker. Arguments are the worker's.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")
worker=$root/build/release/bin/tristill-worker

exec 8<"$root/build/worker.lock"
if ! flock --shared --nonblock 8; then
  echo "waiting for the build of tristill-worker; see $root/build/worker.log"
  flock --shared 8
fi
exec 8<&-
[ -x "$worker" ] && exec "$worker" "$@"
echo "tristill-worker was not built; see $root/build/worker.log, then run ./dev build" >&2
exit 69
