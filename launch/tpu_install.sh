#!/usr/bin/env bash
# Installs on one machine of a TPU slice what tpu_vm.sh has put beside this file: install.sh PYTHON EXTRAS
set -euo pipefail
python=$1 extras=$2
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unpack() { # name
  rm -rf "$1"
  [[ -f launch/$1.tar.gz ]] || return 0
  mkdir "$1"
  tar -xzf "launch/$1.tar.gz" -C "$1"
}

uv() {
  python3 -m uv "$@"
}

unpack library
unpack project
requirements=(--editable "./library[$extras]")
[[ ! -f project/requirements.txt ]] || requirements+=(--requirements project/requirements.txt)
[[ ! -f project/pyproject.toml && ! -f project/setup.py ]] || requirements+=(--editable ./project)
lock=launch/requirements.lock
[[ ! -f $lock ]] || requirements+=(--constraints "$lock")

python3 -m pip install --quiet --user uv
uv venv --quiet --allow-existing "--python=$python" .venv
uv pip install --quiet --python=.venv/bin/python "${requirements[@]}"
[[ -f $lock ]] || uv pip freeze --quiet --python=.venv/bin/python --exclude-editable >"$lock"
