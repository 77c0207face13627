"""cpprb's buffers. It has no call that draws without a gather: `draw` is from rows of one number."""

import replay  # first: it sets the CPU

import importlib.metadata
import itertools

import numpy as np
from cpprb import PrioritizedReplayBuffer, ReplayBuffer
from replay import ALPHA, BATCH, BETA, CAPACITY, FEATURES

VERSIONS = {"cpprb": importlib.metadata.version("cpprb"), "numpy": np.__version__}


class Buffer:
    def __init__(self, make, features, **options):
        self.buffer = make(CAPACITY, {"obs": {"shape": features, "dtype": np.float32}}, **options)
        self.blocks = itertools.cycle(replay.blocks(features=features))
        self.rows = itertools.cycle(list(replay.blocks(1, 1_024, features)[0]))
        for _ in range(CAPACITY // BATCH):
            self.add_256()

    def add_256(self):
        self.buffer.add(obs=next(self.blocks))

    def add_1(self):
        self.buffer.add(obs=next(self.rows))


class Uniform(Buffer):
    def __init__(self):
        super().__init__(ReplayBuffer, FEATURES)

    def uniform_gather(self):
        self.buffer.sample(BATCH)

    uniform_add_256 = Buffer.add_256


class Prioritised(Buffer):
    def __init__(self, features=FEATURES):
        super().__init__(PrioritizedReplayBuffer, features, alpha=ALPHA)
        self.updates = replay.updates()

    def randomise(self):
        for items in np.arange(CAPACITY).reshape(-1, BATCH * 64):
            self.buffer.update_priorities(items, replay.priorities(len(items)))

    def draw_gather(self):
        self.buffer.sample(BATCH, beta=BETA)

    def update(self):
        self.buffer.update_priorities(*next(self.updates))


class Narrow(Prioritised):
    def __init__(self):
        super().__init__(features=1)

    draw = Prioritised.draw_gather


CASES = replay.cases(
    draw=Narrow,
    draw_gather=Prioritised,
    update=Prioritised,
    add_256=Prioritised,
    add_1=Prioritised,
    uniform_gather=Uniform,
    uniform_add_256=Uniform,
)
