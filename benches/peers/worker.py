"""Runs one peer's cases on request, on one thread.

    python worker.py PEER           which is cases_PEER.py: its CASES and VERSIONS

Speaks JSON lines. First it says what it is:

    {"peer": "pytorch", "versions": {...}, "matmul_gflops": 95.1, "cases": ["mlp-128", ...]}

(`matmul_gflops` where the cases need it), then answers each line on stdin with one line on stdout, until stdin ends:

    {"case": "mlp-128", "steps": 100}
    {"case": "mlp-128", "samples": 12800, "cpu_seconds": 0.35, "wall_seconds": 0.35}
    {"case": "mlp-128", "error": "..."}         when the case fails; the worker lives on

The first request for a case sets it up and warms it up, which is not timed. What the libraries print
goes to stderr.
"""

import os
import sys

# Before the libraries are imported, which read them.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import importlib
import json
import platform
import time
import traceback


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
    module = importlib.import_module(f"cases_{peer}")
    torch = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
    about = {"peer": peer, "versions": {"python": platform.python_version()} | module.VERSIONS}
    if hasattr(module, "matmul_gflops"):
        about["matmul_gflops"] = module.matmul_gflops()

    def answer(**line):
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    answer(**about, cases=list(module.CASES))
    ready = {}
    for line in sys.stdin:
        request = json.loads(line)
        name, steps = request["case"], request["steps"]
        try:
            if name not in ready:
                if torch:
                    torch.manual_seed(0)
                ready[name] = module.CASES[name]()
                ready[name].run(ready[name].warm_up)
            answer(case=name, **measure(ready[name], steps))
        except Exception as error:
            traceback.print_exc()
            answer(case=name, error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: worker.py PEER")
    # A private copy of stdout for the answers; what anybody prints must not get between them.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.argv[1], answers)
