#!/usr/bin/env bash
# Installs the Debian packages of the named purposes; does nothing, quickly, when all are there.
#   tools/install_packages.sh serve [train] [test] [launch] [lint] [tidy] [fuzz]
# All come from Debian 12's own archive. On another system it says what is needed and goes on.
set -euo pipefail

compile=(build-essential cmake ninja-build ccache pkg-config)
serve=("${compile[@]}" libsentencepiece-dev libcpp-httplib-dev nlohmann-json3-dev libsqlite3-dev
       libfmt-dev libspdlog-dev libxxhash-dev libcli11-dev prometheus-cpp-dev
       libcurl4-openssl-dev libedit-dev libssl-dev zlib1g-dev curl ca-certificates)
train=(libtorch-dev libgloo-dev libopenblas0-pthread python3)
test=(libgtest-dev git groff-base openssl python3 python3-venv python3-pytest python3-yaml
      python3-jsonschema python3-numpy python3-prometheus-client g++-12-aarch64-linux-gnu qemu-user
      slowhttptest)
# The launchers of configs/launch: torchrun, mpirun, SLURM.
launch=(python3 python3-pytest python3-yaml python3-torch openmpi-bin slurm-wlm munge)
lint=(python3 git binutils clang-format-19)
tidy=(clang-tidy-19)
fuzz=(clang-19 libclang-rt-19-dev)

wanted=()
for purpose in "$@"; do
  case "$purpose" in
    serve | train | test | launch | lint | tidy | fuzz)
      declare -n packages="$purpose"
      wanted+=("${packages[@]}")
      unset -n packages
      ;;
    *)
      echo "unknown purpose $purpose; accepted are serve, train, test, launch, lint, tidy, fuzz" >&2
      exit 64
      ;;
  esac
done
[ ${#wanted[@]} -gt 0 ] || exit 0

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "This is no Debian: the packages ${wanted[*]} must be there under their names here." >&2
  exit 0
fi

# Fails, besides answering, when dpkg has never heard of one of them.
states=$(dpkg-query -W -f='${Package}=${db:Status-Status} ' "${wanted[@]}" 2>/dev/null || true)
installed=" $states "
missing=()
for package in "${wanted[@]}"; do
  [[ $installed == *" $package=installed "* ]] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Packages are missing: run as root, install sudo, or install ${missing[*]}" >&2
    exit 77
  fi
  as_root=(sudo)
fi

# The tests start munge and SLURM themselves: as services of this machine they do not run.
policy=/usr/sbin/policy-rc.d
if [[ " ${missing[*]} " == *" munge "* ]]; then
  without_services() {
    if command -v systemctl >/dev/null; then
      "${as_root[@]}" systemctl disable --quiet munge slurmctld slurmd || true
    fi
    if [ -n "${policy_is_ours:-}" ]; then "${as_root[@]}" rm -f $policy; fi
  }
  trap without_services EXIT
  if [ ! -e $policy ]; then
    policy_is_ours=1
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin $policy
  fi
fi

echo "Installing ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -q --no-install-recommends "${missing[@]}"
