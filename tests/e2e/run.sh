#!/usr/bin/env bash
# Runs the Python tests: the contract, the client and the end-to-end tests. Arguments go to pytest.
#   TRISTILL_BIN   folder of the programs (default build/release/bin)
# Tools live in build/venv and build/node, installed once. Where the package indexes cannot be
# reached, Debian's python3-pytest, python3-yaml and python3-jsonschema serve; tests that need an
# SDK are then skipped with that reason.
set -euo pipefail
cd "$(dirname "$0")/../.."

export TRISTILL_BIN="${TRISTILL_BIN:-$PWD/build/release/bin}"
for program in tristilld tristill; do
  [ -x "$TRISTILL_BIN/$program" ] && continue
  echo "$TRISTILL_BIN/$program is missing; run ./dev build" >&2
  exit 66
done

venv=build/venv
requirements=tests/e2e/requirements.txt
if ! cmp -s $requirements $venv/.ready; then
  mkdir -p build
  if python3 -m venv --system-site-packages $venv &&
     timeout 300 $venv/bin/pip install -q --retries 1 -r $requirements; then
    cp $requirements $venv/.ready
  fi
fi

# The SDK's own tests are in its source archive only: build/openai-VERSION/tests.
sdk=$(sed -n 's/^openai==/openai-/p' $requirements)
if [ ! -d build/$sdk/tests ] && [ -e $venv/.ready ]; then
  download=$(mktemp -d build/sdk.XXXXXX)
  if timeout 300 $venv/bin/pip download -q --retries 1 --no-deps --no-binary openai \
       -d $download ${sdk/-/==}; then
    tar -xzf $download/$sdk.tar.gz -C $download $sdk/pyproject.toml $sdk/tests
    mv -T $download/$sdk build/$sdk
  fi
  rm -rf $download
fi

node_folder=build/node
if [ ! -e $node_folder/.ready ] && command -v npm >/dev/null; then
  mkdir -p $node_folder
  cp tests/e2e/node/package.json $node_folder/
  options=(--silent --no-package-lock --no-audit --no-fund)
  if (cd $node_folder && timeout 180 npm install "${options[@]}"); then
    touch $node_folder/.ready
  fi
fi

# TRISTILL_OPENAI_NODE=CHECKOUT runs the generated tests of a checkout of openai-node.
if [ -n "${TRISTILL_OPENAI_NODE:-}" ] && [ ! -d build/vitest/node_modules/vitest ]; then
  mkdir -p build/vitest
  (cd build/vitest && echo '{"private": true, "type": "module"}' >package.json &&
   timeout 300 npm install --silent --no-package-lock --no-audit --no-fund vitest@2)
fi

# TRISTILL_LM_EVAL=1 runs lm-evaluation-harness.
if [ "${TRISTILL_LM_EVAL:-}" = 1 ] && [ ! -e build/lm-eval/.ready ]; then
  mkdir -p build
  if python3 -m venv build/lm-eval &&
     timeout 600 build/lm-eval/bin/pip install -q --retries 1 'lm-eval[api]==0.4.13'; then
    touch build/lm-eval/.ready
  fi
fi

python=python3
[ -e $venv/.ready ] && python=$venv/bin/python
for module in pytest yaml jsonschema; do
  $python -c "import $module" 2>/dev/null && continue
  echo "The Python tests need $module: no package index can be reached;" \
       "install python3-pytest python3-yaml python3-jsonschema" >&2
  exit 69
done

paths=(tests/openapi tests/client tests/e2e)
for argument in "$@"; do
  [ -e "${argument%%::*}" ] && paths=()  # the caller names what to run
done
exec $python -B -m pytest -q -p no:cacheprovider --import-mode=importlib -rs "$@" "${paths[@]}"
