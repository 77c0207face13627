"""Training steps of the DNC of the package `dnc` (pytorch-dnc).

Memory 128 x 64, 4 read heads, an LSTM of 256 units in one layer, batch 16, 20 steps of 64 numbers, Adam; the loss is the mean
square of the output.
"""

import importlib.metadata

import torch
from dnc import DNC

from cases_pytorch import VERSIONS as PYTORCH, matmul_gflops  # noqa: F401, the worker asks for it

VERSIONS = PYTORCH | {"dnc": importlib.metadata.version("dnc")}

STEPS, BATCH, WIDTH, SLOTS, CELL, HEADS, UNITS = 20, 16, 64, 128, 64, 4, 256


class Train:
    warm_up = 2

    def __init__(self):
        torch.manual_seed(0)
        self.net = DNC(
            input_size=WIDTH,
            hidden_size=UNITS,
            rnn_type="lstm",
            num_layers=1,
            num_hidden_layers=1,
            nr_cells=SLOTS,
            cell_size=CELL,
            read_heads=HEADS,
            batch_first=True,
            gpu_id=-1,
        )
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.x = torch.randn(BATCH, STEPS, WIDTH)

    def run(self, steps):
        for _ in range(steps):
            self.optimizer.zero_grad()
            output, _ = self.net(self.x, (None, None, None), reset_experience=True, pass_through_memory=True)
            output.pow(2).mean().backward()
            self.optimizer.step()
        return steps * BATCH


CASES = {"dnc-train": Train}
