#!/usr/bin/env bash
# Builds what `benches/gpu/check.sh` runs into target/gpu: two test programs and xtask, with the feature `cuda`. Needs no GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export CARGO_PROFILE_RELEASE_STRIP=symbols
mkdir -p target/gpu
benches/gpu/cargo-cuda.sh build --release -p xtask --bin xtask
cp target/cuda/release/xtask target/gpu/xtask
for test in cl-core:operations cl-methods:runs; do
    built=$(benches/gpu/cargo-cuda.sh test --release -p "${test%:*}" --test on_cuda --no-run 2>&1 |
        tee /dev/stderr | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
    cp "$built" "target/gpu/${test#*:}"
done
ls -l target/gpu
