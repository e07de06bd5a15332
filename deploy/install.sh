#!/bin/sh
# Installs the pinned dependencies and this project into .venv. Called by make; safe to repeat.
#
#   deploy/install.sh run    what the gateway needs
#   deploy/install.sh dev    and what the tests and linters need
#   deploy/install.sh extras and what is optional: Parquet, PKCS#11, transit, RFC 3161 time stamps
#   deploy/install.sh flags  prints the compiler's flags for llama.cpp on this machine
#
# Everything is pinned and hashed. Wheels first, then the one dependency that comes as source,
# built against the pinned build tools (no build isolation, so nothing unpinned is fetched).
set -eu
cd "$(dirname "$0")/.."
venv=.venv
log=$venv/install.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_REQUIRE_VIRTUALENV=1
unset PYTHONHOME PYTHONPATH

fail() {
    echo "cloister: $*" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if is_new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# One line for all that is missing, with the command that brings it.
check_tools() {
    packages=
    python=$(find_python) || packages="python3 python3-venv"
    if [ -n "$python" ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        packages="python3-venv"
    fi
    { command -v "${CXX:-g++}" || command -v clang++; } >/dev/null 2>&1 || packages="$packages g++"
    command -v cmake >/dev/null 2>&1 || packages="$packages cmake"
    [ -z "$packages" ] && return
    case "$packages" in
    *python3\ *) what="missing (Python 3.11 or newer)" ;;
    *) what="missing" ;;
    esac
    # shellcheck disable=SC2086  # a list of words
    set -- $packages
    fail "$what: $*. Get it with: sudo apt-get install $*"
}

# step LABEL PROGRESS COMMAND...: runs the command with its output in the log; PROGRESS is a
# function that reads the log and prints how far it is.
step() {
    label=$1
    progress=$2
    shift 2
    "$@" >"$log" 2>&1 &
    pid=$!
    trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
    started=$(date +%s)
    ticks=0
    while kill -0 "$pid" 2>/dev/null; do
        elapsed=$(($(date +%s) - started))
        if [ -t 1 ]; then
            printf '\r\033[K%s %s %ss' "$label" "$($progress)" "$elapsed"
        elif [ $((ticks % 30)) -eq 15 ]; then
            printf '%s %s %ss\n' "$label" "$($progress)" "$elapsed"
        fi
        ticks=$((ticks + 1))
        sleep 1
    done
    trap - INT TERM
    [ ! -t 1 ] || printf '\r\033[K'
    if ! wait "$pid"; then
        tail -n 30 "$log" >&2
        fail "failed: $label (the whole log is $log)"
    fi
    echo "$label: done in $(($(date +%s) - started)) s"
}

count_collected() {
    if grep -q '^Installing collected' "$log"; then
        printf '(unpacking)'
    else
        printf '%s of %s' "$(grep -cE '^(Collecting|Processing|Requirement) ' "$log")" \
            "$(wc -l <"$venv/wanted")"
    fi
}

# ninja writes "[12/345] Building ..." as it goes.
count_compiled() {
    if grep -q 'Building wheel for' "$log"; then
        printf '(compiling llama.cpp: about five minutes on two cores, once) %s' \
            "$(grep -o '\[[0-9]*/[0-9]*\]' "$log" | tail -n 1)"
    fi
}

names() {
    sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' "$1"
}

# A lock file without the entries that come as source only.
wheels_of() {
    awk '/^[A-Za-z0-9]/ { skip = /^llama-cpp-python==/ } !skip' "$1"
}

# Without the tile instructions of newer Xeons: llama.cpp's kernels for them ended the process with
# an illegal instruction (tileloadd) on a virtual machine that offers them.
without_tiles() {
    flags="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    # shellcheck disable=SC2086  # a list of words
    if "${CXX:-c++}" $flags -x c++ -E /dev/null >/dev/null 2>&1; then
        printf '%s' "$flags"
    fi
}

install_run() {
    wheels_of requirements.lock >"$venv/wheels.lock"
    names "$venv/wheels.lock" >"$venv/wanted"
    step "installing dependencies" count_collected \
        "$venv/bin/pip" install --require-hashes --no-deps --only-binary :all: -r "$venv/wheels.lock"
    # The build tools pinned above (ninja among them) are found through PATH.
    CFLAGS="$(without_tiles) ${CFLAGS:-}" CXXFLAGS="$(without_tiles) ${CXXFLAGS:-}" \
        PATH="$PWD/$venv/bin:$PATH" step "installing llama.cpp" count_compiled \
        "$venv/bin/pip" install -v --require-hashes --no-deps --no-build-isolation -r requirements.lock
    step "installing cloister" true \
        "$venv/bin/pip" install --no-deps --no-build-isolation --no-index -e .
}

# install_lock LABEL FILE
install_lock() {
    names "$2" >"$venv/wanted"
    step "$1" count_collected \
        "$venv/bin/pip" install --require-hashes --no-deps --only-binary :all: -r "$2"
}

check_tools
if [ "${1:-}" = flags ]; then
    without_tiles
    exit
fi
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
case "${1:-}" in
run) install_run ;;
dev) install_lock "installing test tools" tests/requirements.lock ;;
extras) install_lock "installing extras" deploy/extras.lock ;;
*) fail "usage: deploy/install.sh run|dev|extras|flags" ;;
esac
