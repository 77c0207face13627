#!/usr/bin/env bash
# On a machine with a GPU, from programs that `benches/gpu/pack.sh` has made anywhere: do the operations give on the GPU what they
# give on the CPU, do whole runs, and how fast are they? Results, which name the device, go to a folder (default
# bench-out/gpu-speed). Needs a driver for CUDA 13 (580 or newer), and CUDA's libraries where the system looks for libraries; a
# PyTorch for CUDA 13 brings them along.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

out=${1:-bench-out/gpu-speed}
packed=${PACKED:-target/gpu}
if libraries=$(python3 -c 'import nvidia, os; print(os.path.join(list(nvidia.__path__)[0], "cu13", "lib"))' 2>/dev/null); then
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
for test in operations runs; do
    log=$("$packed/$test" --nocapture) || { printf '%s\n' "$log"; exit 1; }
    if grep '^skipped: ' <<<"$log"; then exit 1; fi
    grep '^test result: ' <<<"$log"
done
"$packed/xtask" bench gpu-speed --device cuda --out "$out"
