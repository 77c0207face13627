"""Flashbax's item buffers, in its best setting: f32; every call compiled; the state donated, without
which an add copies the buffer; the key split inside the compiled function; no asynchronous dispatch,
which costs more than a call here; one thread."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import replay  # before jax: it sets the CPU

import importlib.metadata
import itertools

import jax

jax.config.update("jax_cpu_enable_async_dispatch", False)

import flashbax
import jax.numpy as jnp
import numpy as np
from flashbax.buffers import sum_tree
from replay import ALPHA, BATCH, CAPACITY, FEATURES

VERSIONS = {"flashbax": importlib.metadata.version("flashbax"), "jax": jax.__version__}


class Buffer:
    """Adds and samples, with any of the two buffers."""

    def __init__(self, make, **options):
        fields = {"max_length": CAPACITY, "min_length": 1, "sample_batch_size": BATCH} | options
        self.buffer = make(add_batches=True, **fields)
        self.add = jax.jit(self.buffer.add, donate_argnums=0)
        self.add_one = jax.jit(make(add_batches=False, **fields).add, donate_argnums=0)
        self.sample = jax.jit(self.with_key(self.buffer.sample))
        self.key = jax.random.key(0)
        self.state = self.buffer.init({"obs": jnp.zeros(FEATURES, jnp.float32)})
        self.blocks = itertools.cycle([{"obs": jnp.asarray(block)} for block in replay.blocks()])
        self.rows = itertools.cycle([{"obs": jnp.asarray(row)} for row in replay.blocks(1, 1_024)[0]])
        for _ in range(CAPACITY // BATCH):
            self.add_256()

    @staticmethod
    def with_key(function):
        def call(state, key):
            key, part = jax.random.split(key)
            return key, function(state, part)

        return call

    def gather(self):
        self.key, sample = self.sample(self.state, self.key)
        jax.block_until_ready(sample)

    def add_256(self):
        self.state = self.add(self.state, next(self.blocks))
        self.state.current_index.block_until_ready()

    def add_1(self):
        self.state = self.add_one(self.state, next(self.rows))
        self.state.current_index.block_until_ready()


class Uniform(Buffer):
    def __init__(self):
        super().__init__(flashbax.make_item_buffer)

    uniform_gather = Buffer.gather
    uniform_add_256 = Buffer.add_256


class Prioritised(Buffer):
    def __init__(self):
        super().__init__(flashbax.make_prioritised_item_buffer, priority_exponent=ALPHA, device="cpu")
        self.set = jax.jit(self.buffer.set_priorities, donate_argnums=0)

        def indices(state, key):
            drawn = sum_tree.stratified_sample(state.sum_tree_state, BATCH, key)
            return drawn, sum_tree.get_probability(state.sum_tree_state, drawn)

        self.indices = jax.jit(self.with_key(indices))
        self.updates = replay.updates(index=np.int32, convert=jnp.asarray)

    draw_gather = Buffer.gather

    def randomise(self):
        for items in np.arange(CAPACITY, dtype=np.int32).reshape(-1, BATCH * 64):
            self.state = self.set(self.state, jnp.asarray(items), jnp.asarray(replay.priorities(len(items))))

    def draw(self):
        self.key, drawn = self.indices(self.state, self.key)
        jax.block_until_ready(drawn)

    def update(self):
        self.state = self.set(self.state, *next(self.updates))
        self.state.sum_tree_state.nodes.block_until_ready()


CASES = replay.cases(
    draw=Prioritised,
    draw_gather=Prioritised,
    update=Prioritised,
    add_256=Prioritised,
    add_1=Prioritised,
    uniform_gather=Uniform,
    uniform_add_256=Uniform,
)
