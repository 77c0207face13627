"""Whole methods on a stream of small batches as a user writes them in bare PyTorch.

All on 784-100-100-10 with SGD, in the second task: the memories are filled. A case is set up by its constructor, and
`run(steps)` goes on from where the last call stopped and returns how many samples of the stream it took.
"""

import itertools
import random

import torch
import torch.nn.functional as F

from cases_pytorch import VERSIONS, matmul_gflops, mlp, sgd, slices, synthetic  # noqa: F401, the worker asks for some

SAMPLES = 2_000


class Method:
    """A network, its optimizer, a stream of batches."""

    warm_up = 100
    batch = 10

    def __init__(self):
        self.net = mlp(100)
        self.optimizer = sgd(self.net.parameters())
        self.parameters = list(self.net.parameters())
        self.stream = slices(*synthetic((784,), SAMPLES), self.batch)

    def run(self, steps):
        for x, y in itertools.islice(self.stream, steps):
            self.observe(x, y)
        return steps * self.batch

    def step(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def gradient(self, x, y):
        """The gradient of the mean loss over all parameters as one vector."""
        self.optimizer.zero_grad()
        F.cross_entropy(self.net(x), y).backward()
        return torch.cat([p.grad.flatten() for p in self.parameters])


class Reservoir:
    """A uniform sample of the stream; further columns beside inputs and labels."""

    def __init__(self, size, *columns):
        self.size, self.seen = size, 0
        self.columns = [torch.empty(size, *shape, dtype=dtype) for shape, dtype in columns]

    def offer(self, *rows):
        for row in zip(*rows):
            slot = self.seen if self.seen < self.size else random.randrange(self.seen + 1)
            if slot < self.size:
                for column, value in zip(self.columns, row):
                    column[slot] = value
            self.seen += 1

    def draw(self, n):
        held = min(self.seen, self.size)
        rows = torch.randperm(held)[:n]
        return [column[rows] for column in self.columns]


X, Y, Z = ((784,), torch.float), ((), torch.long), ((10,), torch.float)


class Replay(Method):
    """Experience replay: 10 of a reservoir of 200 beside each batch."""

    def __init__(self):
        super().__init__()
        self.memory = Reservoir(200, X, Y)

    def observe(self, x, y):
        inputs, labels = x, y
        if self.memory.seen:
            old_x, old_y = self.memory.draw(10)
            inputs, labels = torch.cat([x, old_x]), torch.cat([y, old_y])
        self.step(F.cross_entropy(self.net(inputs), labels))
        self.memory.offer(x, y)


class DarkReplay(Method):
    """DER++: two draws of 10, one held to its stored outputs, one to its labels; all in one pass."""

    def __init__(self):
        super().__init__()
        self.memory = Reservoir(200, X, Y, Z)

    def observe(self, x, y):
        if self.memory.seen:
            first_x, _, first_z = self.memory.draw(10)
            second_x, second_y, _ = self.memory.draw(10)
            outputs = self.net(torch.cat([x, first_x, second_x]))
            sizes = [len(x), len(first_x), len(second_x)]
            new, first, second = outputs.split(sizes)
            loss = F.cross_entropy(new, y) + 0.5 * F.mse_loss(first, first_z) + 0.5 * F.cross_entropy(second, second_y)
        else:
            new = self.net(x)
            loss = F.cross_entropy(new, y)
        self.step(loss)
        self.memory.offer(x, y, new.detach())


class AverageGem(Method):
    """A-GEM: 250 samples of the first task, the reference gradient on all of them."""

    def __init__(self):
        super().__init__()
        self.x, self.y = synthetic((784,), 250)

    def observe(self, x, y):
        reference = self.gradient(self.x, self.y)
        gradient = self.gradient(x, y)
        conflict = torch.dot(gradient, reference)
        if conflict < 0:
            gradient = gradient - conflict / torch.dot(reference, reference) * reference
            start = 0
            for p in self.parameters:
                p.grad.copy_(gradient[start : start + p.numel()].view_as(p))
                start += p.numel()
        self.optimizer.step()


class GssGreedy(Method):
    """GSS-greedy: a memory of 300, 10 directions, a step on the batch and one on a replayed batch."""

    warm_up = 200
    size, directions = 300, 10

    def __init__(self):
        super().__init__()
        self.x, self.y = torch.empty(self.size, 784), torch.empty(self.size, dtype=torch.long)
        self.scores, self.held = torch.zeros(self.size), 0

    def observe(self, x, y):
        self.step(F.cross_entropy(self.net(x), y))
        if self.held:
            rows = torch.randperm(self.held)[: self.batch]
            self.step(F.cross_entropy(self.net(self.x[rows]), self.y[rows]))
        self.offer(x, y)

    def unit(self, x, y):
        return F.normalize(self.gradient(x, y), dim=0)

    def likeness(self, directions, x, y):
        return (directions @ self.unit(x, y)).max()

    def offer(self, x, y):
        directions = None
        if self.held:
            chunks = torch.randperm(self.held).split(self.batch)[: self.directions]
            directions = torch.stack([self.unit(self.x[rows], self.y[rows]) for rows in chunks])
        if self.held < self.size:
            for i in range(min(len(x), self.size - self.held)):
                score = 0.1 if directions is None else self.likeness(directions, x[i : i + 1], y[i : i + 1])
                self.x[self.held], self.y[self.held], self.scores[self.held] = x[i], y[i], score
                self.held += 1
            return
        if self.likeness(directions, x, y) >= 0:
            return
        least, most = self.scores.min(), self.scores.max()
        places = torch.multinomial((self.scores - least) / (most - least + 0.01), len(x))
        for i, place in enumerate(places.tolist()):
            score = self.likeness(directions, x[i : i + 1], y[i : i + 1])
            old, new = (self.scores[place] + 1) / 2, (score + 1) / 2
            if torch.rand(()) * (old + new) < old:
                self.x[place], self.y[place], self.scores[place] = x[i], y[i], score


class MetaReplay(Method):
    """MER, algorithm 1: 5 batches of 10 replayed samples and the new one, a step each; Reptile within and across."""

    batch, replay, batches = 1, 10, 5
    beta, gamma = 0.01, 1.0

    def __init__(self):
        super().__init__()
        self.memory = Reservoir(200, X, Y)
        self.memory.offer(*synthetic((784,), 200))

    def values(self):
        return [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def reptile(self, before, rate):
        for p, b in zip(self.parameters, before):
            p.copy_(b + rate * (p - b))

    def observe(self, x, y):
        before_all = self.values()
        for _ in range(self.batches):
            before = self.values()
            old_x, old_y = self.memory.draw(self.replay)
            for xi, yi in zip(torch.cat([old_x, x]), torch.cat([old_y, y])):
                self.step(F.cross_entropy(self.net(xi[None]), yi[None]))
            self.reptile(before, self.beta)
        self.reptile(before_all, self.gamma)
        self.memory.offer(x, y)


CASES = {"er": Replay, "der++": DarkReplay, "a-gem": AverageGem, "gss": GssGreedy, "mer": MetaReplay}
