#!/bin/sh
# Make one environment for each peer, outside the project: their top-level packages have the names of ours.
# Usage: benchmarks/peers.sh [FOLDER]; the default is ~/.cache/touchstone-peers. Needs Python 3.11 and a package index.
set -eu
home="${1:-${TOUCHSTONE_PEERS:-$HOME/.cache/touchstone-peers}}"
python="${PYTHON:-python3.11}"
make_one() {  # name, requirement...
    name="$1"; shift
    if [ ! -e "$home/$name/.made" ]; then
        "$python" -m venv "$home/$name"
        "$home/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
        touch "$home/$name/.made"
    fi
    echo "$name: $("$home/$name/bin/python" -c 'import sys; print(sys.version.split()[0])'), $*"
}
make_one vectorbt "vectorbt[rust]==1.2.0"
make_one raptorbt "raptorbt==0.13.4" numpy pandas
make_one backtesting "backtesting==0.6.6"
