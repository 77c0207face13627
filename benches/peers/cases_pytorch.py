"""Training steps as a user writes them in bare PyTorch: no loader, slices of tensors made beforehand.

A case is set up by its constructor, and `run(steps)` goes on from where the last call stopped and
returns how many samples of the stream it took. Replayed samples are not counted.
"""

import itertools
import random
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

VERSIONS = {"torch": torch.__version__}
SAMPLES = 12_000
CLASSES = 10


def matmul_gflops(size=1024, repetitions=4):
    """Tells whether MKL took its AVX-512 path: the speed of a square product, best of three."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(repetitions):
            a @ b
        seconds.append((time.process_time() - start) / repetitions)
    return 2 * size**3 / min(seconds) / 1e9


def mlp(hidden):
    return nn.Sequential(
        nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES)
    )


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, CLASSES),
    )


def synthetic(shape, samples=SAMPLES):
    """Inputs in [0, 1] and labels, one tensor each."""
    return torch.rand(samples, *shape), torch.randint(CLASSES, (samples,))


def slices(x, y, batch):
    """Whole batches, over and over."""
    starts = range(0, len(x) - batch + 1, batch)
    for start in itertools.cycle(starts):
        yield x[start : start + batch], y[start : start + batch]


class Train:
    """Forward, backward, step."""

    warm_up = 20

    def __init__(self, net, optimizer, shape, batch, samples=SAMPLES):
        self.net, self.optimizer, self.batch = net, optimizer(net.parameters()), batch
        self.batches = slices(*synthetic(shape, samples), batch)

    def run(self, steps):
        for x, y in itertools.islice(self.batches, steps):
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(x), y).backward()
            self.optimizer.step()
        return steps * self.batch


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.01)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.001)


class Replay:
    """Experience replay: a reservoir of 200, and 10 of it beside each batch of 10."""

    warm_up = 200
    memory, batch, replay = 200, 10, 10

    def __init__(self):
        self.net = mlp(100)
        self.optimizer = sgd(self.net.parameters())
        self.batches = slices(*synthetic((784,)), self.batch)
        self.x = torch.empty(self.memory, 784)
        self.y = torch.empty(self.memory, dtype=torch.long)
        self.seen = 0

    def run(self, steps):
        for x, y in itertools.islice(self.batches, steps):
            inputs, labels = x, y
            if self.seen:
                drawn = torch.randint(min(self.seen, self.memory), (self.replay,))
                inputs, labels = torch.cat([x, self.x[drawn]]), torch.cat([y, self.y[drawn]])
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(inputs), labels).backward()
            self.optimizer.step()
            self.store(x, y)
        return steps * self.batch

    def store(self, x, y):
        for i in range(len(x)):
            slot = self.seen if self.seen < self.memory else random.randrange(self.seen + 1)
            if slot < self.memory:
                self.x[slot], self.y[slot] = x[i], y[i]
            self.seen += 1


class Fisher:
    """The exact diagonal Fisher of 784-400-400-10, Σₙ Σ_c p(c|xₙ) (∂ log p(c|xₙ) / ∂θ)².

    A step is one call of `accumulate` with `chunk` samples.
    """

    warm_up = 2
    chunk = 1

    def __init__(self):
        self.net = mlp(400)
        self.x, _ = synthetic((784,), samples=2_048)
        self.inputs = itertools.cycle(range(0, len(self.x), self.chunk))
        self.fisher = {name: torch.zeros_like(p) for name, p in self.net.named_parameters()}

    def run(self, steps):
        for start in itertools.islice(self.inputs, steps):
            self.accumulate(self.x[start : start + self.chunk])
        return steps * self.chunk


class FisherLoop(Fisher):
    """One sample and one class at a time, by `backward`: how the papers' code does it."""

    def accumulate(self, x):
        logits = self.net(x)
        weights = F.softmax(logits.detach(), dim=1)[0]
        for label in range(CLASSES):
            self.net.zero_grad()
            loss = F.cross_entropy(logits, torch.tensor([label]))
            loss.backward(retain_graph=label + 1 < CLASSES)
            for name, parameter in self.net.named_parameters():
                self.fisher[name] += weights[label] * parameter.grad**2


class FisherVmap(Fisher):
    """Gradients per sample and class with `torch.func`, vectorised over both.

    Each of the chunk·10 gradients is as large as the network, so a large chunk leaves the cache: the
    fastest of a few sizes is taken. The squares are added in place, which takes half the time of
    `square().sum(0)`.
    """

    chunks = (1, 2, 4, 16)

    def __init__(self):
        super().__init__()
        self.parameters = {name: p.detach() for name, p in self.net.named_parameters()}
        self.labels = torch.eye(CLASSES)

        def weighted_log_likelihood(parameters, x, label):
            """√p · log p of one class, p held fixed: the square of its gradient is one term of F."""
            logits = functional_call(self.net, parameters, (x.unsqueeze(0),))[0]
            log_p = F.log_softmax(logits, dim=-1)
            return (label * (0.5 * log_p.detach()).exp() * log_p).sum()

        per_class = vmap(grad(weighted_log_likelihood), in_dims=(None, None, 0))
        self.gradients = vmap(per_class, in_dims=(None, 0, None))
        self.chunk = min(self.chunks, key=self.seconds)
        self.inputs = itertools.cycle(range(0, len(self.x), self.chunk))

    def seconds(self, chunk, samples=16):
        """CPU time of `samples` in chunks of `chunk`, the better of two."""
        times = []
        for _ in range(2):
            start = time.process_time()
            for x in self.x[:samples].split(chunk):
                self.accumulate(x)
            times.append(time.process_time() - start)
        return min(times)

    def accumulate(self, x):
        for name, gradients in self.gradients(self.parameters, x, self.labels).items():
            for gradient in gradients.flatten(0, 1):
                self.fisher[name].addcmul_(gradient, gradient)


class FisherFactored(Fisher):
    """No gradient per sample at all: a linear layer's is the outer product of the gradient of its
    output and its input, so its squares sum to the product of the squares. Nobody's published code
    does this; it shows what is left of a ratio when PyTorch uses the same algorithm."""

    chunk = 128

    def accumulate(self, x):
        value, layers = x, []
        for index, layer in enumerate(self.net):
            inputs, value = value.detach(), layer(value)
            if isinstance(layer, nn.Linear):
                layers.append((str(index), inputs, value))
        outputs = [output for _, _, output in layers]
        squares = [torch.zeros_like(output) for output in outputs]
        log_p = F.log_softmax(value, dim=1)
        # √p · log p with p held fixed, as above.
        weighted = ((0.5 * log_p.detach()).exp() * log_p).sum(0)
        for label in range(CLASSES):
            deltas = torch.autograd.grad(weighted[label], outputs, retain_graph=label + 1 < CLASSES)
            for square, delta in zip(squares, deltas):
                square.addcmul_(delta, delta)
        for (name, inputs, _), square in zip(layers, squares):
            self.fisher[f"{name}.weight"].addmm_(square.T, inputs.square())
            self.fisher[f"{name}.bias"] += square.sum(0)


CASES = {
    "mlp-128": lambda: Train(mlp(400), sgd, (784,), 128),
    "mlp-128-adam": lambda: Train(mlp(400), adam, (784,), 128),
    "mlp-10": lambda: Train(mlp(100), sgd, (784,), 10),
    "er-10": Replay,
    "fisher-loop": FisherLoop,
    "fisher-vmap": FisherVmap,
    "fisher-factored": FisherFactored,
    "cnn-64": lambda: Train(cnn(), sgd, (3, 32, 32), 64, samples=2_048),
}
