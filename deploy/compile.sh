#!/bin/sh
# Compiles the core in place, unless the compiled one is newer than all of its sources.
set -eu
venv="$1"
cd "$(dirname "$0")/.."

# Prints the compiled modules that are older than their source, or the group they share if the list of modules is newer.
stale() {
    find node/dlibos_node -name '*.so' | while read -r so; do
        [ "${so%%.cpython-*}.py" -nt "$so" ] && echo "$so"
    done
    [ deploy/compile.py -nt "$1" ] && echo "$1"
    true
}

core=$(find node -maxdepth 1 -name 'dlibos_core__mypyc*.so')
if [ -n "$core" ] && [ -z "$(stale "$core")" ]; then
    echo "dlibos: the compiled core is up to date" >&2
    exit 0
fi
command -v "${CC:-cc}" > /dev/null 2>&1 || {
    echo "dlibos: no C compiler: apt-get install gcc python3-dev (the core runs uncompiled too, only slower)" >&2
    exit 1
}
"$venv/bin/python" -c '
import pathlib, sysconfig
raise SystemExit(not (pathlib.Path(sysconfig.get_paths()["include"]) / "Python.h").exists())' || {
    echo "dlibos: no headers for this Python: apt-get install python3-dev (the core runs uncompiled too, only slower)" >&2
    exit 1
}
echo "dlibos: compiling the core (about a minute)" >&2
find node -name '*.so' -delete
mkdir -p build/mypyc
"$venv/bin/python" deploy/compile.py > build/mypyc/log 2>&1 || {
    find node -name '*.so' -delete
    tail -n 20 build/mypyc/log >&2
    echo "dlibos: compiling failed, see build/mypyc/log; the core runs uncompiled" >&2
    exit 1
}
