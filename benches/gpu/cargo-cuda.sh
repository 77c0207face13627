#!/usr/bin/env bash
# cargo with the feature `cuda`, on a machine that needs neither a GPU nor CUDA's toolkit:
#
#   benches/gpu/cargo-cuda.sh clippy --workspace --all-targets
#   benches/gpu/cargo-cuda.sh build --release -p xtask
#   benches/gpu/cargo-cuda.sh toolkit                     # only gets what comes from the index
#
# nvcc comes from the Python package index, and all of CUDA's libraries are opened when a program starts to use them, so that it
# starts without them. Needs cargo, gcc, python3 with pip. Where the toolkit is installed plain cargo will do, but links to it.
#
#   CUDA_WORK=DIR           where the toolkit and two patched crates are kept (default target/cuda-work; half a gigabyte)
#   CUDA_COMPUTE_CAP=NN     the architecture of candle's own kernels (default 90, which is Hopper only; 80 is Ampere and later)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=${CUDA_WORK:-$PWD/target/cuda-work}
mkdir -p "$work"
candle=$(awk '/^name = "candle-core"$/ { getline; gsub(/"/, "", $3); print $3 }' Cargo.lock)

# The toolkit: unpacked, the wheels are a CUDA_HOME. No newer than the drivers that it is for.
toolkit=$work/toolkit/nvidia/cu13
if [ ! -x "$toolkit/bin/nvcc" ]; then
    python3 -m pip install --quiet --no-deps --target "$work/toolkit" nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 \
        nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cuda-nvrtc==13.0.88
fi
[ "${1:-}" != toolkit ] || exit 0
export CUDA_HOME=$toolkit CUDA_PATH=$toolkit CUDA_ROOT=$toolkit CUDA_TOOLKIT_ROOT_DIR=$toolkit
export NVCC=$toolkit/bin/nvcc PATH=$toolkit/bin:$PATH
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CUDARC_CUDA_VERSION=13000

# candle asks for linked libraries, which excludes opened ones (huggingface/candle#3900); its kernels for quantised weights take
# twenty minutes to build and are used by nothing here. Both are changed in copies, which are only named so when they are whole.
cargo fetch --quiet --locked
source_of() { ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1-$candle" | head -n 1; }
if [ ! -d "$work/candle-core" ]; then
    rm -rf "$work/new" && cp -r "$(source_of candle-core)" "$work/new"
    sed -i 's/"dynamic-linking"/"dynamic-loading"/' "$work/new/Cargo.toml"
    grep -q '"dynamic-loading"' "$work/new/Cargo.toml" || { echo "candle-core's manifest is not as expected" >&2; exit 1; }
    mv "$work/new" "$work/candle-core"
fi
if [ ! -d "$work/candle-kernels" ]; then
    rm -rf "$work/new" && cp -r "$(source_of candle-kernels)" "$work/new"
    python3 benches/gpu/without_quantised.py "$work/new"
    mv "$work/new" "$work/candle-kernels"
fi

# The patches change Cargo.lock, so cargo runs in a tree of links beside a copy of it.
tree=$PWD/target/cuda-tree
mkdir -p "$tree"
for entry in .cargo *; do
    case $entry in target | bench-out | Cargo.lock) ;; *) ln -sfn "$PWD/$entry" "$tree/$entry" ;; esac
done
cp Cargo.lock "$tree/Cargo.lock"
target=$PWD/target/cuda
command=$1
shift
cd "$tree"
exec cargo "$command" --features cuda --target-dir "$target" \
    --config "patch.crates-io.candle-core.path='$work/candle-core'" \
    --config "patch.crates-io.candle-kernels.path='$work/candle-kernels'" "$@"
