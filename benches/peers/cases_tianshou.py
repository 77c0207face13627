"""Tianshou's prioritised buffer: 42 f32 of observation and 42 of the next. `draw` and `update-tree` are
its tree alone, which is public: indices and probabilities, and p^alpha into the leaves. It adds one
transition at a time."""

import replay  # first: it sets the CPU

import importlib.metadata
import itertools

import numpy as np
from replay import ALPHA, BATCH, BETA, CAPACITY, FEATURES
from tianshou.data import Batch, PrioritizedReplayBuffer, ReplayBuffer

VERSIONS = {name: importlib.metadata.version(name) for name in ("tianshou", "numba", "numpy")}
HALF = FEATURES // 2


def transition(row):
    return Batch(
        obs=row[:HALF], act=0, rew=0.0, terminated=False, truncated=False, obs_next=row[HALF:], info={}
    )


class Buffer:
    def __init__(self, buffer):
        self.buffer = buffer
        self.rows = itertools.cycle([transition(row) for row in replay.blocks(1, 1_024)[0]])
        # The first makes the arrays. The others, a minute of calls, are written as one.
        self.add_1()
        for name in ("obs", "obs_next"):
            getattr(buffer, name)[:] = replay.blocks(1, 1, HALF)[0]
        for name in ("act", "rew", "terminated", "truncated", "done"):
            getattr(buffer, name)[:] = 0
        buffer._size = CAPACITY

    def add_1(self):
        self.buffer.add(next(self.rows))

    def gather(self):
        self.buffer.sample(BATCH)


class Uniform(Buffer):
    def __init__(self):
        super().__init__(ReplayBuffer(CAPACITY))

    uniform_gather = Buffer.gather


class Prioritised(Buffer):
    def __init__(self):
        super().__init__(PrioritizedReplayBuffer(CAPACITY, alpha=ALPHA, beta=BETA))
        self.tree = self.buffer.weight
        self.random = np.random.default_rng(1).random
        self.updates = replay.updates()

    draw_gather = Buffer.gather

    def randomise(self):
        for items in np.arange(CAPACITY).reshape(-1, BATCH * 64):
            self.buffer.update_weight(items, replay.priorities(len(items)))

    def draw(self):
        total = self.tree.reduce()
        indices = self.tree.get_prefix_sum_idx(self.random(BATCH) * total)
        self.tree[indices] / total

    def update(self):
        self.buffer.update_weight(*next(self.updates))

    def update_tree(self):
        indices, values = next(self.updates)
        self.tree[indices] = values**ALPHA


CASES = replay.cases(
    draw=Prioritised,
    draw_gather=Prioritised,
    update=Prioritised,
    update_tree=Prioritised,
    add_1=Prioritised,
    uniform_gather=Uniform,
)
