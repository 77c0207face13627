"""TorchRL's buffer over one tensor, which is faster than over a TensorDict: preallocated storage, no
transforms, nothing collated, f32 trees."""

import replay  # first: it sets the CPU

import itertools

import torch
import torchrl
from replay import ALPHA, BATCH, BETA, CAPACITY
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.data.replay_buffers.samplers import PrioritizedSampler, RandomSampler

VERSIONS = {"torch": torch.__version__, "torchrl": torchrl.__version__}


class Buffer:
    def __init__(self, sampler):
        self.sampler = sampler
        self.buffer = ReplayBuffer(
            storage=LazyTensorStorage(CAPACITY),
            sampler=sampler,
            batch_size=BATCH,
            collate_fn=lambda rows: rows,
        )
        self.blocks = itertools.cycle([torch.from_numpy(block) for block in replay.blocks()])
        self.rows = itertools.cycle(torch.from_numpy(replay.blocks(1, 1_024)[0]).unbind())
        for _ in range(CAPACITY // BATCH):
            self.add_256()

    def gather(self):
        self.buffer.sample()

    def add_256(self):
        self.buffer.extend(next(self.blocks))

    def add_1(self):
        self.buffer.add(next(self.rows))


class Uniform(Buffer):
    def __init__(self):
        super().__init__(RandomSampler())

    uniform_gather = Buffer.gather
    uniform_add_256 = Buffer.add_256


class Prioritised(Buffer):
    def __init__(self):
        super().__init__(PrioritizedSampler(CAPACITY, alpha=ALPHA, beta=BETA, dtype=torch.float32))
        self.updates = replay.updates(convert=torch.from_numpy)

    draw_gather = Buffer.gather

    def randomise(self):
        for items in torch.arange(CAPACITY).split(BATCH * 64):
            self.buffer.update_priority(items, torch.from_numpy(replay.priorities(len(items))))

    def draw(self):
        self.sampler.sample(self.buffer.storage, BATCH)

    def update(self):
        self.buffer.update_priority(*next(self.updates))


CASES = replay.cases(
    draw=Prioritised,
    draw_gather=Prioritised,
    update=Prioritised,
    add_256=Prioritised,
    add_1=Prioritised,
    uniform_gather=Uniform,
    uniform_add_256=Uniform,
)
