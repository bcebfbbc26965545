#!/bin/sh
# Writes the three lock files from pyproject.toml: exact versions and hashes, no index address.
# Needs `pip install uv`.
set -eu
cd "$(dirname "$0")/.."
lock() {
  out=$1; shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command 'tools/lock.sh' "$@" pyproject.toml -o "$out"
}
lock requirements-dev.lock --extra stack --extra test --extra check
lock requirements.lock -c requirements-dev.lock
lock requirements-bench.lock --extra bench -c requirements-dev.lock
