"""Runs one peer's training steps on request, on one thread.

    python worker.py pytorch|avalanche

Speaks JSON lines. First it says what it is:

    {"peer": "pytorch", "versions": {...}, "matmul_gflops": 95.1, "cases": ["mlp-128", ...]}

then answers each line on stdin with one line on stdout, until stdin ends:

    {"case": "mlp-128", "steps": 100}
    {"case": "mlp-128", "samples": 12800, "cpu_seconds": 0.35, "wall_seconds": 0.35}
    {"case": "mlp-128", "error": "..."}         when the case fails; the worker lives on

The first request for a case sets it up and warms it up, which is not timed. What the libraries print
goes to stderr.
"""

import os
import sys

# Before torch is imported, which reads them.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import json
import platform
import time
import traceback

import torch

import cases_pytorch


def load(peer):
    """The cases of `peer` by name, and the versions to report."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if peer == "pytorch":
        return cases_pytorch.CASES, versions
    if peer == "avalanche":
        import avalanche
        import cases_avalanche

        return cases_avalanche.CASES, versions | {"avalanche": avalanche.__version__}
    raise SystemExit(f"unknown peer {peer!r}: pytorch or avalanche")


def matmul_gflops(size=1024, repetitions=4):
    """Tells whether MKL took its AVX-512 path: the speed of a square product, best of three."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(repetitions):
            a @ b
        seconds.append((time.process_time() - start) / repetitions)
    return 2 * size**3 / min(seconds) / 1e9


def measure(case, steps):
    wall, cpu = time.perf_counter(), time.process_time()
    samples = case.run(steps)
    return {
        "samples": samples,
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
    }


def serve(peer, answers):
    """Answers the requests on stdin, in order."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    classes, versions = load(peer)

    def answer(**line):
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    answer(peer=peer, versions=versions, matmul_gflops=matmul_gflops(), cases=list(classes))
    ready = {}
    for line in sys.stdin:
        request = json.loads(line)
        name, steps = request["case"], request["steps"]
        try:
            if name not in ready:
                torch.manual_seed(0)
                ready[name] = classes[name]()
                ready[name].run(ready[name].warm_up)
            answer(case=name, **measure(ready[name], steps))
        except Exception as error:
            traceback.print_exc()
            answer(case=name, error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: worker.py pytorch|avalanche")
    # A private copy of stdout for the answers; what anybody prints must not get between them.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.argv[1], answers)
