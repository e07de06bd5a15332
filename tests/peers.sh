#!/bin/sh
# Builds the servers that tests and benchmarks meet, into .peers/; `make peers` calls it. Safe to
# repeat: a stamp says what was built.
#
#   .peers/bin/llama-server, llama-batched-bench   from the sources in llama-cpp-python's sdist
#   .peers/venv                                    runs `python -m llama_cpp.server`
#
# The sdist is the one of requirements.lock, by its hash, and is compiled as deploy/install.sh
# compiles it for the gateway: figures compare two ways to call one library, not two libraries.
set -eu
cd "$(dirname "$0")/.."
root=$PWD peers=$PWD/.peers
log=$peers/build.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_REQUIRE_VIRTUALENV=1
export PATH="$root/.venv/bin:$PATH"
unset PYTHONHOME PYTHONPATH

fail() {
    tail -n 30 "$log" >&2
    echo "cloister: failed: $* (the whole log is $log)" >&2
    exit 1
}

# The entry of the one dependency that comes as source, with its hash.
source_of() {
    awk '/^[A-Za-z0-9]/ { keep = /^llama-cpp-python==/ } keep' requirements.lock
}

unpack() {
    rm -rf "$peers/sdist" "$peers/source"
    mkdir -p "$peers/sdist" "$peers/source"
    source_of >"$peers/sdist/lock"
    .venv/bin/pip download --require-hashes --no-deps --no-build-isolation --no-binary :all: \
        --dest "$peers/sdist" -r "$peers/sdist/lock"
    tar -xzf "$peers"/sdist/*.tar.gz -C "$peers/source" --strip-components 1
}

# No TLS, web pages, downloads or examples: what is not built cannot reach for the network.
compile() {
    flags="$(deploy/install.sh flags) ${CFLAGS:-}"
    cmake -G Ninja -S "$peers/source/vendor/llama.cpp" -B "$peers/build" \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" \
        -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_NUMBER=0 -DLLAMA_BUILD_COMMIT=sdist \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF
    nice -n 10 cmake --build "$peers/build" --target llama-server llama-batched-bench
    mkdir -p "$peers/bin"
    cp "$peers/build/bin/llama-server" "$peers/build/bin/llama-batched-bench" "$peers/bin/"
    rm -rf "$peers/build" "$peers/source" "$peers/sdist"
}

# llama_cpp itself is the gateway's own: a path file shows its folder behind this one's.
install_server() {
    rm -rf "$peers/venv"
    .venv/bin/python -m venv "$peers/venv"
    "$peers/venv/bin/pip" install --require-hashes --no-deps --only-binary :all: -r tests/peers.lock
    place='import sysconfig; print(sysconfig.get_path("purelib"))'
    .venv/bin/python -c "$place" >"$("$peers/venv/bin/python" -c "$place")/gateway.pth"
}

# once STAMP WANTED LABEL FUNCTION: runs FUNCTION unless the stamp says that it was done for WANTED.
once() {
    [ "$(cat "$peers/$1" 2>/dev/null)" = "$2" ] && return
    echo "$3"
    # In a shell of its own, where a failing command ends it: `if` would switch that off.
    set +e
    (set -e && $4) >>"$log" 2>&1
    status=$?
    set -e
    [ "$status" -eq 0 ] || fail "$3"
    printf '%s\n' "$2" >"$peers/$1"
}

build() {
    unpack
    compile
}

mkdir -p "$peers"
: >"$log"
sources=$({ cat tests/peers.sh && source_of && deploy/install.sh flags; } | cksum)
once .built "$sources" "building llama-server (ten minutes on two cores, once)" build
once .installed "$(cksum <tests/peers.lock)" "installing llama_cpp.server" install_server
