"""What the replay buffers of all peers are measured on.

2^20 transitions of 84 f32, or 42 and 42 where a library keeps the next observation apart; batches of
256. Every row is written before anything is timed: rows that never were share one page of zeros, and
a gather from them is several times faster. Priorities are random; an update has indices and priorities
that it has not had before, since cpprb stops early where nothing changes. They are made beforehand.

A library has one buffer of a kind in a process, shared by its cases: `add-256` and `add-1` leave it
with the priorities of new items, so each case begins with random ones.
"""

import functools
import itertools
import os

# Before a library makes its threads: some of them ask how many CPUs there are, and nothing else.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np

CAPACITY = 1 << 20
BATCH = 256
FEATURES = 84
ALPHA, BETA = 0.6, 0.4

rng = np.random.default_rng(0)


def blocks(count=64, rows=BATCH, features=FEATURES):
    """Rows to add, in blocks."""
    return [rng.random((rows, features), dtype=np.float32) for _ in range(count)]


def priorities(count):
    """In (0, 1]."""
    return 1 - rng.random(count, dtype=np.float32)


def updates(capacity=CAPACITY, index=np.int64, convert=lambda array: array):
    """Endless (indices, priorities). So many batches of indices that most of the tree is met between
    two turns of one, and never twice with the same priorities: the two numbers have no common factor."""
    indices = [convert(rng.integers(capacity, size=BATCH, dtype=index)) for _ in range(4_093)]
    values = [convert(priorities(BATCH)) for _ in range(1_021)]
    return zip(itertools.cycle(indices), itertools.cycle(values))


shared = functools.cache(lambda make: make())


class Repeated:
    """A case: one method of a buffer, again and again."""

    warm_up = 40

    def __init__(self, make, method, transitions=BATCH):
        buffer = shared(make)
        if hasattr(buffer, "randomise"):
            buffer.randomise()
        self.call, self.transitions = getattr(buffer, method), transitions

    def run(self, steps):
        call = self.call
        for _ in range(steps):
            call()
        return steps * self.transitions


def cases(**methods):
    """Cases by name: `draw_gather=Buffer` is the case `draw-gather`, its method `Buffer.draw_gather`."""
    transitions = lambda method: 1 if method == "add_1" else BATCH
    return {
        method.replace("_", "-"): functools.partial(Repeated, make, method, transitions(method))
        for method, make in methods.items()
    }
