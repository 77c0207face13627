"""TorchRL's prioritized buffer on a GPU, timed as `cargo xtask bench gpu-speed --case replay` times ours: 2^22 rows of 84 f32 in
one tensor on the device, batches of 4096.

    python torchrl_replay.py [--device cpu] [--capacity N] [--rounds N] [--calls N]

Prints a JSON line a case: the median over the rounds of the mean µs of a call. `tree` says where the priorities are: TorchRL has
a tree on the GPU since late 2026, in wheels built with CUDA; before, indices come from the CPU.
"""

import argparse
import json
import statistics
import time

import torch
import torchrl
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.data.replay_buffers.samplers import PrioritizedSampler

WIDTH, BATCH = 84, 4096
ALPHA, BETA = 0.6, 0.4

arguments = argparse.ArgumentParser()
arguments.add_argument("--device", default="cuda")
arguments.add_argument("--capacity", type=int, default=1 << 22)
arguments.add_argument("--rounds", type=int, default=20)
arguments.add_argument("--calls", type=int, default=100)
arguments = arguments.parse_args()
device, capacity = torch.device(arguments.device), arguments.capacity
torch.manual_seed(0)


def synchronize():
    if device.type == "cuda":
        torch.cuda.synchronize()


def priorities(n):
    """In (0, 1]."""
    return 1 - torch.rand(n, device=device)


# A storage of one tensor, without transforms and without collating: its fastest form.
sampler = PrioritizedSampler(capacity, alpha=ALPHA, beta=BETA, dtype=torch.float32)
buffer = ReplayBuffer(
    storage=LazyTensorStorage(capacity, device=device),
    sampler=sampler,
    batch_size=BATCH,
    collate_fn=lambda rows: rows,
)
rows = torch.rand(BATCH, WIDTH, device=device)
for _ in range(capacity // BATCH):  # every row is written
    buffer.extend(rows)
for indices in torch.arange(capacity, device=device).split(BATCH):
    buffer.update_priority(indices, priorities(len(indices)))
# New indices and priorities at every call, as from a learner.
updates = [(torch.randint(capacity, (BATCH,), device=device), priorities(BATCH)) for _ in range(61)]
turn = 0


def update():
    global turn
    buffer.update_priority(*updates[turn % len(updates)])
    turn += 1


CASES = {
    "prioritized draw + gather of 4096 rows of 2^22": lambda: buffer.sample(return_info=True),
    "priorities of 4096 rows of 2^22": update,
    "4096 rows added to 2^22": lambda: buffer.extend(rows),
}

for case, call in CASES.items():
    for _ in range(10):
        call()
    microseconds = []
    for _ in range(arguments.rounds):
        synchronize()
        start = time.perf_counter()
        for _ in range(arguments.calls):
            call()
        synchronize()
        microseconds.append((time.perf_counter() - start) / arguments.calls * 1e6)
    line = {
        "peer": "torchrl",
        "case": case,
        "microseconds": round(statistics.median(microseconds), 2),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "tree": str(getattr(sampler, "device", "cpu")),
        "capacity": capacity,
        "versions": {"torch": torch.__version__, "torchrl": torchrl.__version__},
    }
    print(json.dumps(line), flush=True)
