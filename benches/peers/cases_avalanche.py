"""Experience replay in Avalanche, with its own classes for the stream, the memory and the loop.

Kind to Avalanche where there is a choice: tensors instead of images, no metrics, no logger, no
evaluation, and the plain reservoir instead of the default memory balanced by experience, which on a
stream of tiny experiences would hold a group for each. It warns about itself after every experience;
printing that took a tenth of its time, so warnings are dropped.
"""

import itertools
import warnings

import avalanche
import torch
from avalanche.benchmarks import benchmark_from_datasets, split_online_stream
from avalanche.benchmarks.utils import as_taskaware_classification_dataset
from avalanche.training import ReservoirSamplingBuffer
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn
from torch.utils.data import TensorDataset

from cases_pytorch import matmul_gflops, mlp, sgd, synthetic  # noqa: F401, the worker asks for the first

warnings.showwarning = lambda *_, **__: None

VERSIONS = {"torch": torch.__version__, "avalanche": avalanche.__version__}
BATCH, MEMORY, REPLAY = 10, 200, 10
EXPERIENCES, SAMPLES_EACH = 5, 2_000


def experiences():
    """Five experiences of 2 000 samples."""
    datasets = []
    for _ in range(EXPERIENCES):
        x, y = synthetic((784,), SAMPLES_EACH)
        data = TensorDataset(x, y)
        data.targets = y
        datasets.append(as_taskaware_classification_dataset(data))
    return benchmark_from_datasets(train=datasets).train_stream


def strategy():
    net = mlp(100)
    memory = ReservoirSamplingBuffer(max_size=MEMORY)
    return SupervisedTemplate(
        model=net,
        optimizer=sgd(net.parameters()),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        train_epochs=1,
        plugins=[ReplayPlugin(MEMORY, batch_size_mem=REPLAY, storage_policy=memory)],
        evaluator=None,
    )


class Online:
    """One experience = one batch of 10 samples: what arrives is learned from once and is gone."""

    warm_up = 200

    def __init__(self):
        self.stream = self.passes(experiences())

    @staticmethod
    def passes(train_stream):
        """Each experience with its learner, a fresh one for every pass of 10 000 samples."""
        while True:
            learner = strategy()
            for experience in split_online_stream(train_stream, experience_size=BATCH, drop_last=True):
                yield learner, experience

    def run(self, steps):
        for learner, experience in itertools.islice(self.stream, steps):
            learner.train(experience)
        return steps * BATCH


class FiveExperiences:
    """The same with 200 batches to an experience, which is Avalanche's best case. Whole experiences
    are trained on, so `run` may take more steps than it was asked for."""

    warm_up = 1

    def __init__(self):
        self.strategy = strategy()
        self.stream = itertools.cycle(experiences())

    def run(self, steps):
        count = -(-steps * BATCH // SAMPLES_EACH)
        for experience in itertools.islice(self.stream, count):
            self.strategy.train(experience)
        return count * SAMPLES_EACH


CASES = {"er-10": Online, "er-10-5exp": FiveExperiences}
