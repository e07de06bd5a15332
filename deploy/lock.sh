#!/bin/sh
# Regenerates the lock files from pyproject.toml. The only script here that asks an index for
# versions; what it writes names none, so a site can install from a mirror of its own.
# UPGRADE=1 takes the newest versions that pyproject.toml admits, otherwise pins stay as they are.
set -eu
cd "$(dirname "$0")/.."

compile() {
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        ${UPGRADE:+--upgrade} "$@"
}

compile --extra gateway --group build --output-file requirements.lock pyproject.toml
compile --extra parquet --extra pkcs11 --extra timestamps --extra vault \
    --constraints requirements.lock --output-file deploy/extras.lock pyproject.toml
compile --group dev --constraints requirements.lock --output-file tests/requirements.lock

if grep -nE '://|^ *--(index|extra-index|find-links)' requirements.lock deploy/extras.lock tests/*.lock; then
    echo "A lock file names an address; nothing was meant to." >&2
    exit 1
fi
