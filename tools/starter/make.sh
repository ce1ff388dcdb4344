#!/usr/bin/env bash
# Makes the starter model again: corpora from Debian packages, teacher, base, traces, student.
# Needs the programs in build/release/bin (./dev build) and root or sudo for the packages.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

data=${1:-build/starter}
bin=build/release/bin
packages=(django sqlalchemy twisted networkx flask werkzeug jinja2 click requests tornado aiohttp
          mypy)

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get install -y -q --no-install-recommends "${packages[@]/#/python3-}" curl jq

mkdir -p "$data/corpora"
for package in "${packages[@]}"; do
  rm -rf "$data/corpora/$package"
  cp -r "/usr/lib/python3/dist-packages/$package" "$data/corpora/$package"
done

$bin/tristilld --port 18090 --data "$data" &
daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
export TRISTILL_SERVER=http://127.0.0.1:18090
until curl -fs -o /dev/null "$TRISTILL_SERVER/health"; do
  kill -0 $daemon
  sleep 0.2
done

# run_job FILE [BASE]: BASE is the job that gives the first weights; prints the job's id.
run_job() {
  local id
  id=$(sed "s/ftjob-ID-OF-STARTER-BASE/${2:-none}/" "$1" |
    $bin/tristill --json jobs create - | jq -r .id)
  $bin/tristill jobs watch "$id" >&2
  echo "$id"
}

run_job configs/jobs/starter-teacher.json
base=$(run_job configs/jobs/starter-base.json)
tools/starter/collect_traces.py /usr/lib/python3.11 \
  "$data"/corpora/{django,sqlalchemy,networkx,click,tornado,requests} \
  --teacher-server "$TRISTILL_SERVER" --model starter-teacher --name starter --tokens 1000000
run_job configs/jobs/starter.json "$base"
echo "The model is $data/models/starter.gguf"
