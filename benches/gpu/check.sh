#!/usr/bin/env bash
# All that is to be known of a GPU, in one command on the machine that has it: does every operation give there what it gives on the
# CPU, how fast is each, beside which peers, and does it give the CPU's table of Split MNIST.
#
#   benches/gpu/check.sh [OUT]             builds, checks; results with the device's name go to OUT
#   benches/gpu/check.sh --pack FOLDER     builds on any machine, and leaves in FOLDER all that FOLDER/check.sh needs elsewhere
#   FOLDER/check.sh [OUT]                  needs the driver and CUDA 13's libraries, no Rust
#
#   SEEDS=N         seeds of Split MNIST on the GPU (default 5; 0 leaves the table out)
#   PARTS="..."     which of: parity sanitizer speed table (default all; what cannot be run says so)
#   PEERS_PYTHON=P  a Python with PyTorch (and TorchRL) for the peers (default python3)
# The exit status is 1 if anything that was run does not stand. Split MNIST is shown beside the CPU's: of equals one row in twenty is
# beyond its interval.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Tests with these names, of any crate, are of a GPU.
pack() {
    local folder=$1 root
    root=$(cd "$here/../.." && pwd)
    # Of crates that are no more nothing is to stay.
    rm -rf "$folder/tests" && mkdir -p "$folder/tests" && cd "$root" || exit 1
    local packages=()
    for test in crates/*/tests/on_cuda.rs crates/*/tests/on_cuda/main.rs; do
        [ -e "$test" ] && packages+=(-p "$(cut -d/ -f2 <<<"$test")")
    done
    benches/gpu/cargo-cuda.sh test --release "${packages[@]}" --test on_cuda --no-run --message-format=json-render-diagnostics \
        | python3 -c '
import json, shutil, sys
for line in sys.stdin:
    made = json.loads(line) if line.startswith("{") else {}
    if made.get("executable") and made["target"]["name"] == "on_cuda":
        parts = made["target"]["src_path"].split("/")
        crate = parts[len(parts) - parts[::-1].index("tests") - 2]
        shutil.copy(made["executable"], sys.argv[1] + "/" + crate)
' "$folder/tests" || exit 1
    benches/gpu/cargo-cuda.sh build --release -p xtask || exit 1
    cp target/cuda/release/xtask benches/gpu/check.sh "$folder/" || exit 1
    cp -r benches/gpu/peers "$folder/" || exit 1
    cp benches/results/split-mnist.jsonl "$folder/split-mnist-cpu.jsonl" || exit 1
}

if [ "${1:-}" = --pack ]; then
    mkdir -p "${2:?a folder}" || exit 1
    folder=$(cd "$2" && pwd) || exit 1
    pack "$folder"
    exit
fi
seeds=${SEEDS:-5}
[[ $seeds =~ ^[0-9]+$ ]] || { echo "SEEDS=$seeds is no number" >&2; exit 1; }
out=${1:-bench-out/gpu}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd) || exit 1
if [ ! -d "$here/tests" ]; then
    folder=$(cd "$here/../.." && pwd)/target/gpu-check
    (pack "$folder") || exit 1
    here=$folder
fi

failed=0
step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
no() { printf 'DOES NOT STAND: %s\n' "$*" | tee -a "$out/failed.txt"; failed=1; }
wanted() { case " ${PARTS:-parity sanitizer speed table} " in *" $1 "*) ;; *) return 1 ;; esac; }
rm -f "$out/failed.txt"

{
    date -u
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,compute_cap --format=csv 2>/dev/null || echo "no nvidia-smi"
    uname -srm
} | tee "$out/machine.txt"

if wanted parity; then
    for test in "$here"/tests/*; do
        name=$(basename "$test")
        step "parity: $name"
        "$test" --test-threads 1 --nocapture >"$out/parity-$name.txt" 2>&1 || no "parity of $name: see parity-$name.txt"
        grep '^test result' "$out/parity-$name.txt"
        # A test that was skipped has shown nothing. On one thread its name stands before that, in the same line.
        grep -q 'skipped: ' "$out/parity-$name.txt" && no "$name skipped tests: $(grep -m 1 'skipped: ' "$out/parity-$name.txt")"
    done
fi

if wanted sanitizer; then
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck; do
            for test in "$here"/tests/*; do
                name=$(basename "$test")
                step "$tool: $name"
                compute-sanitizer --tool "$tool" --error-exitcode 1 "$test" --test-threads 1 --nocapture >"$out/$tool-$name.txt" 2>&1 \
                    || no "$tool of $name: see $tool-$name.txt"
                grep -q 'skipped: ' "$out/$tool-$name.txt" && no "$tool of $name: tests were skipped"
                tail -n 1 "$out/$tool-$name.txt"
            done
        done
    else
        echo "skipped: there is no compute-sanitizer in PATH"
    fi
fi

if wanted speed; then
    step speed
    "$here/xtask" bench gpu-speed --device cuda --out "$out/speed" --check || no "speed: see speed/gpu-speed.md"
    for peer in "$here"/peers/*.py; do
        [ -e "$peer" ] || continue
        step "peer: $(basename "$peer")"
        "${PEERS_PYTHON:-python3}" "$peer" >"$out/speed/$(basename "$peer" .py).jsonl" || echo "skipped: it does not run here"
    done
fi

if wanted table && [ "$seeds" -gt 0 ]; then
    if [ -n "${CL_DATA_DIR:-}" ]; then
        step "Split MNIST, $seeds seeds"
        methods=(--method None --method Joint --method EWC --method SI --method LwF --method ER --method A-GEM)
        "$here/xtask" bench split-mnist --device cuda --fresh --seeds "$seeds" "${methods[@]}" --out "$out/split-mnist" || no "Split MNIST"
        "$here/xtask" compare "$here/split-mnist-cpu.jsonl" "$out/split-mnist" | tee "$out/split-mnist.md" || no "compare"
    else
        echo "skipped: CL_DATA_DIR is not set"
    fi
fi

step "done: $([ "$failed" = 0 ] && echo all that was run stands || echo something does not stand, see failed.txt)"
exit "$failed"
