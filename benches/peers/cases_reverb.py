"""Reverb, server and client in one process, through its dataset: 2^17 items, since filling 2^20 takes
minutes. All its threads are counted and share one CPU."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import replay  # before tensorflow: it sets the CPU

import importlib.metadata
import itertools

import numpy as np
import reverb
import tensorflow as tf
from replay import ALPHA, BATCH, FEATURES

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

VERSIONS = {name: importlib.metadata.version(name) for name in ("dm-reverb", "tensorflow-cpu")}
CAPACITY = 1 << 17


class Buffer:
    def __init__(self, sampler):
        table = reverb.Table(
            "items",
            sampler=sampler,
            remover=reverb.selectors.Fifo(),
            max_size=CAPACITY,
            rate_limiter=reverb.rate_limiters.MinSize(1),
            signature={"obs": tf.TensorSpec((FEATURES,), tf.float32)},
        )
        self.server = reverb.Server([table], port=None)
        self.client = self.server.localhost_client()
        self.writer = self.client.trajectory_writer(num_keep_alive_refs=1)
        self.rows = itertools.cycle([{"obs": row} for row in replay.blocks(1, 1_024)[0]])
        for _ in range(CAPACITY):
            self.add_1()
        self.writer.flush()
        dataset = reverb.TimestepDataset.from_table_signature(
            f"localhost:{self.server.port}", "items", max_in_flight_samples_per_worker=2 * BATCH
        )
        self.batches = iter(dataset.batch(BATCH))

    def add_1(self):
        self.writer.append(next(self.rows))
        self.writer.create_item("items", 1.0, {"obs": self.writer.history["obs"][-1]})
        self.writer.flush(block_until_num_items=1_000)

    def gather(self):
        return next(self.batches)


class Uniform(Buffer):
    def __init__(self):
        super().__init__(reverb.selectors.Uniform())

    uniform_gather = Buffer.gather


class Prioritised(Buffer):
    def __init__(self):
        super().__init__(reverb.selectors.Prioritized(ALPHA))
        found = {}
        while len(found) < CAPACITY // 2:
            found |= dict.fromkeys(np.asarray(self.gather().info.key).ravel().tolist())
        keys = np.array(list(found), np.uint64)
        # Keys stand for indices; it takes a dict of Python's own numbers, so making one is part of the call.
        self.updates = (
            dict(zip(keys[indices].tolist(), values.tolist()))
            for indices, values in replay.updates(len(keys))
        )

    draw_gather = Buffer.gather

    def update(self):
        self.client.mutate_priorities("items", updates=next(self.updates))


CASES = replay.cases(draw_gather=Prioritised, update=Prioritised, add_1=Prioritised, uniform_gather=Uniform)
