"""Retrieval from many patterns by PyTorch's fused attention.

Patterns are 2^17 of 64 numbers, keys and values both; the scale is 1/8.
"""

import torch
import torch.nn.functional as F

from cases_pytorch import VERSIONS, matmul_gflops  # noqa: F401, the worker asks for them

PATTERNS, WIDTH, BETA = 1 << 17, 64, 0.125


class Retrieve:
    warm_up = 1

    def __init__(self, queries, train):
        self.queries = torch.randn(1, 1, queries, WIDTH, requires_grad=train)
        self.patterns = torch.randn(1, 1, PATTERNS, WIDTH, requires_grad=train)
        self.train = train

    def run(self, steps):
        for _ in range(steps):
            if self.train:
                self.queries.grad = self.patterns.grad = None
                self.retrieve().sum().backward()
            else:
                with torch.no_grad():
                    self.retrieve()
        return steps * self.queries.shape[2]

    def retrieve(self):
        return F.scaled_dot_product_attention(self.queries, self.patterns, self.patterns, scale=BETA)


CASES = {
    "retrieve-1024": lambda: Retrieve(1024, False),
    "retrieve-1": lambda: Retrieve(1, False),
    "retrieve-train": lambda: Retrieve(1024, True),
}
