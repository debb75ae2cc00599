#!/bin/sh
# Makes the virtual environment in $1 and installs the project into it. What the system lacks is named with the command
# that installs it.
set -eu
venv="$1"
python="${PYTHON:-python3}"
cd "$(dirname "$0")/.."

fail() {
    echo "dlibos: $1" >&2
    exit 1
}

command -v "$python" > /dev/null 2>&1 || fail "there is no $python: apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old, 3.11 or later is needed: name one, as in make PYTHON=python3.12"
"$python" -c 'import ensurepip, venv' 2> /dev/null ||
    fail "this Python cannot make virtual environments: apt-get install python3-venv"

echo "dlibos: setting up $venv (once; about half a minute)" >&2
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv" || fail "cannot make $venv here: is the directory writable?"
"$venv/bin/pip" install --quiet --disable-pip-version-check --editable '.[dev]' ||
    fail "pip could not install the project: see its message above; behind a proxy set HTTPS_PROXY or PIP_INDEX_URL"
