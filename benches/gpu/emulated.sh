#!/usr/bin/env bash
# Runs a program on an emulated GPU, on a machine that has none:
#
#   benches/gpu/emulated.sh benches/gpu/cargo-cuda.sh test -p cl-core --test on_cuda
#
# The emulator (benches/cuda-emulator) stands in for libcuda, libcublas and libcurand; the compiler of kernels, libnvrtc, is
# NVIDIA's, from the toolkit of cargo-cuda.sh. What it says of speed means nothing.
#
#   CUDA_WORK=DIR       where that toolkit is (default target/cuda-work)
#   EMULATED_...        the settings of the emulator: benches/cuda-emulator/src/lib.rs
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

work=${CUDA_WORK:-$root/target/cuda-work}
nvrtc=$work/toolkit/nvidia/cu13/lib
if ! ls "$nvrtc"/libnvrtc.so* >/dev/null 2>&1; then
    python3 -m pip install --quiet --no-deps --target "$work/nvrtc" nvidia-cuda-nvrtc==13.0.88
    nvrtc=$work/nvrtc/nvidia/cu13/lib
fi

# The target folder is named: what is run may be another build, with one of its own.
cargo build --quiet --manifest-path "$root/Cargo.toml" --target-dir "$root/target" -p cuda-emulator
libraries=$root/target/emulator
mkdir -p "$libraries"
for name in libcuda.so libcuda.so.1 libcublas.so libcublas.so.13 libcublasLt.so libcublasLt.so.13 libcurand.so libcurand.so.10; do
    ln -sfn ../debug/libcuda_emulator.so "$libraries/$name"
done
export LD_LIBRARY_PATH=$libraries:$nvrtc${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
exec "$@"
