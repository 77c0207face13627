"""PyTorch's scaled_dot_product_attention on the sizes of `cargo xtask bench gpu-speed`: a JSON object a line on stdout, with the
same names. It chooses the implementation itself; f32 is f32, not TF32.

    python3 attention.py [--rounds 9]
"""

import argparse
import json
import statistics
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

ROUND = 0.1


def timed(call, calls):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    rounds = max(1, parser.parse_args().rounds)
    torch.manual_seed(0)
    for dtype, name in [(torch.bfloat16, "bf16"), (torch.float32, "f32")]:
        for width in [64, 128]:
            for keys in [1 << 14, 1 << 18, 1 << 22]:
                k, v = (torch.randn(1, 1, keys, width, device="cuda", dtype=dtype, requires_grad=True) for _ in range(2))
                for queries in [1, 64, 4096]:
                    q = torch.randn(1, 1, queries, width, device="cuda", dtype=dtype, requires_grad=True)
                    detached = q.detach(), k.detach(), v.detach()

                    def forward():
                        with torch.no_grad():
                            scaled_dot_product_attention(*detached)

                    def backward():
                        q.grad = k.grad = v.grad = None
                        scaled_dot_product_attention(q, k, v).sum().backward()

                    def backward_of_queries():
                        q.grad = None
                        scaled_dot_product_attention(q, *detached[1:]).sum().backward()

                    passes = [("forward", forward), ("backward", backward), ("backward_of_queries", backward_of_queries)]
                    for which, call in passes:
                        line = {
                            "library": f"torch {torch.__version__}",
                            "device": torch.cuda.get_device_name(),
                            "dtype": name,
                            "width": width,
                            "queries": queries,
                            "keys": keys,
                            "pass": which,
                        }
                        try:
                            timed(call, 2)
                            calls = max(1, min(1000, int(ROUND / timed(call, 2))))
                            seconds = [timed(call, calls) for _ in range(rounds)]
                            line["seconds"] = statistics.median(seconds)
                        except RuntimeError as error:  # such as too little memory: the others still count
                            line["error"] = str(error).splitlines()[0]
                        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
