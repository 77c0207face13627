"""Stable-Baselines3's uniform buffer: 42 f32 of observation and 42 of the next, on the CPU. It has no
prioritised one. Many rows are added at once by as many environments, in a buffer of that shape."""

import replay  # first: it sets the CPU

import itertools

import numpy as np
import stable_baselines3
import torch
from gymnasium.spaces import Box
from replay import BATCH, CAPACITY, FEATURES
from stable_baselines3.common.buffers import ReplayBuffer

VERSIONS = {"stable-baselines3": stable_baselines3.__version__, "torch": torch.__version__}
HALF = FEATURES // 2


class Buffer:
    def __init__(self, environments):
        space, action = Box(-1, 1, (HALF,), np.float32), Box(-1, 1, (1,), np.float32)
        self.buffer = ReplayBuffer(
            CAPACITY, space, action, device="cpu", n_envs=environments, handle_timeout_termination=False
        )
        self.rest = (
            np.zeros((environments, 1), np.float32),
            np.zeros(environments, np.float32),
            np.zeros(environments, bool),
            [{}] * environments,
        )
        rows = replay.blocks(64 if environments > 1 else 1_024, environments)
        self.rows = itertools.cycle([(row[:, :HALF], row[:, HALF:]) for row in rows])
        # All that an add writes, without its price for each row.
        for array in (self.buffer.observations, self.buffer.next_observations):
            array[:] = replay.blocks(1, 1, HALF)[0]
        for array in (self.buffer.actions, self.buffer.rewards, self.buffer.dones):
            array.fill(0)
        self.buffer.full = True

    def add(self):
        observation, following = next(self.rows)
        self.buffer.add(observation, following, *self.rest)


class One(Buffer):
    def __init__(self):
        super().__init__(environments=1)

    add_1 = Buffer.add

    def uniform_gather(self):
        self.buffer.sample(BATCH)


class Many(Buffer):
    def __init__(self):
        super().__init__(environments=BATCH)

    uniform_add_256 = Buffer.add


CASES = replay.cases(uniform_add_256=Many, add_1=One, uniform_gather=One)
