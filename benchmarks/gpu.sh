#!/usr/bin/env bash
# Everything that only a GPU can answer, in one call: bash benchmarks/gpu.sh [arguments of gpu.py]
# Works without the project's environment, on a machine with PyTorch, JAX, diffrax and equinox. Wheels of what
# that machine lacks (diffusers, pydantic, zarr and what they need) may lie in the folder .whl.
set -euo pipefail
cd "$(dirname "$0")/.."
python=python3
test -x .venv/bin/python && python=.venv/bin/python
export PYTHONPATH=$PWD/workflow/src${PYTHONPATH:+:$PYTHONPATH}
if compgen -G '.whl/*.whl' > /dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl
    export PYTHONPATH=$site:$PYTHONPATH
fi
$python benchmarks/gpu.py "$@"
