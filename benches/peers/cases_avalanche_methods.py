"""Whole methods in Avalanche, with its own classes, on experiences of 2 000 samples.

Kind to Avalanche where there is a choice: tensors instead of images, no metrics, no logger, no evaluation, few large
experiences. Whole experiences are trained on, so `run` may take more steps than it was asked for.
"""

import itertools
import warnings

from avalanche.benchmarks import tensors_benchmark
from avalanche.training import AGEM, DER, GSS_greedy, MER, ReservoirSamplingBuffer
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from cases_avalanche import EXPERIENCES, SAMPLES_EACH, VERSIONS  # noqa: F401, the worker asks for the versions
from cases_pytorch import matmul_gflops, mlp, sgd, synthetic  # noqa: F401, and for the product

warnings.showwarning = lambda *_, **__: None


def experiences(samples):
    """Five experiences of as many samples, with the task labels that some of the methods ask for."""
    train = [synthetic((784,), samples) for _ in range(EXPERIENCES)]
    return tensors_benchmark(train, [train[0]], task_labels=[0] * EXPERIENCES).train_stream


class Method:
    """One pass over experiences; the first, which fills the memory, is the warm-up."""

    warm_up = 1
    batch = 10

    def __init__(self, make, samples=SAMPLES_EACH):
        self.samples = samples
        net = mlp(100)
        self.strategy = make(
            model=net,
            optimizer=sgd(net.parameters()),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=self.batch,
            train_epochs=1,
            evaluator=None,
        )
        self.stream = itertools.cycle(experiences(samples))

    def run(self, steps):
        count = -(-steps * self.batch // self.samples)
        for experience in itertools.islice(self.stream, count):
            self.strategy.train(experience)
        return count * self.samples


class OneByOne(Method):
    """MER takes one sample at a time, and long: its experiences are short."""

    batch = 1


def replay(**arguments):
    memory = ReservoirSamplingBuffer(max_size=200)
    return SupervisedTemplate(plugins=[ReplayPlugin(200, batch_size_mem=10, storage_policy=memory)], **arguments)


CASES = {
    "er": lambda: Method(replay),
    "der++": lambda: Method(lambda **a: DER(mem_size=200, batch_size_mem=10, alpha=0.5, beta=0.5, **a)),
    "a-gem": lambda: Method(lambda **a: AGEM(patterns_per_exp=250, sample_size=250, **a)),
    "gss": lambda: Method(lambda **a: GSS_greedy(mem_size=300, mem_strength=10, input_size=[784], **a)),
    "mer": lambda: OneByOne(
        lambda **a: MER(mem_size=200, batch_size_mem=10, n_inner_steps=5, beta=0.01, gamma=1.0, **a), samples=200
    ),
}
