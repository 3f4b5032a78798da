#!/bin/sh
# Creates a virtual environment that contains uv, which installs the packages of the lock files.
# Usage: make_venv.sh PYTHON DIRECTORY
set -eu
python=$1
venv=$2

echo "Creating a virtual environment in $venv"
"$python" -m venv --clear "$venv"
pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
# The lock file's entry for uv: its version, and its hashes on lines that end with a backslash.
awk '/^uv==/ { keep = 1 } keep { print } keep && !/\\$/ { exit }' requirements-dev.lock > "$pinned"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$pinned"
touch "$venv/.python"
