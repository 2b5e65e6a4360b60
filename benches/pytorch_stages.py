"""The stages that `profile` times, in PyTorch: the same layers at the same sizes, for a comparison in one sitting.

Usage: python pytorch_stages.py [bfloat16|float32] [threads] [encode_3d|encode_2d|prefill|decode]...
Needs torch (written with 2.5.1). Prints one JSON object per stage: the best of three runs of one layer, times layers.
`core_ms` is the process's time on cores, which other work on the machine disturbs less.
"""
import json
import sys
import time

import torch
import torch.nn.functional as F

RUNS = 3


def timed(run):
    wall = core = float("inf")
    for _ in range(RUNS + 1):
        start, before = time.time(), time.process_time()
        run()
        wall, core = min(wall, time.time() - start), min(core, time.process_time() - before)
    return wall, core


def report(stage, layers, parts):
    wall = core = 0.0
    for count, run in parts:
        part_wall, part_core = timed(run)
        wall, core = wall + count * part_wall, core + count * part_core
    print(json.dumps({"stage": stage, "wall_ms": layers * wall * 1e3, "core_ms": layers * core * 1e3}), flush=True)


def linear(rows, inner, columns, dtype, after=lambda v: v):
    x, w, b = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype), torch.randn(columns).to(dtype)
    return lambda: after(F.linear(x, w, b))


def vision(stage, layers, sequences, tokens, heads, mlp, projections, gelu, dtype):
    hidden, rows = heads * 64, sequences * tokens
    x, scale = torch.randn(rows, hidden).to(dtype), torch.randn(hidden).to(dtype)
    q, k, v = (torch.randn(sequences, heads, tokens, 64).to(dtype) for _ in range(3))
    report(stage, layers, [
        (2, lambda: F.layer_norm(x, (hidden,), scale, scale)),
        (projections, linear(rows, hidden, 3 * hidden // projections, dtype)),
        (1, lambda: F.scaled_dot_product_attention(q, k, v)),
        (1, linear(rows, hidden, hidden, dtype, lambda v: v + x)),
        (1, linear(rows, hidden, mlp, dtype, lambda v: F.gelu(v, approximate=gelu))),
        (1, linear(rows, mlp, hidden, dtype, lambda v: v + x)),
    ])


def language_model(stage, rows, context, dtype):
    x, scale = torch.randn(rows, 3072).to(dtype), torch.randn(3072).to(dtype)
    q = torch.randn(1, 32, rows, 96).to(dtype)
    k, v = (torch.randn(1, 32, context, 96).to(dtype) for _ in range(2))
    causal = rows > 1

    def gated(v):
        gate, value = v.chunk(2, dim=-1)
        return F.silu(gate) * value

    report(stage, 32, [
        (2, lambda: F.rms_norm(x, (3072,), scale, 1e-5)),
        (1, linear(rows, 3072, 9216, dtype)),
        (1, lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal)),
        (1, linear(rows, 3072, 3072, dtype, lambda v: v + x)),
        (1, linear(rows, 3072, 16384, dtype, gated)),
        (1, linear(rows, 8192, 3072, dtype, lambda v: v + x)),
        (1 / 32, linear(1, 3072, 32064, dtype)),
    ])


def main():
    words = sys.argv[1:]
    dtype = torch.float32 if "float32" in words else torch.bfloat16
    torch.set_num_threads(next((int(word) for word in words if word.isdigit()), torch.get_num_threads()))
    print(json.dumps({"torch": torch.__version__, "dtype": str(dtype), "threads": torch.get_num_threads()}))
    stages = {
        "encode_3d": lambda: vision("encode_3d", 12, 1, 2049, 12, 3072, 1, "none", dtype),
        "encode_2d": lambda: vision("encode_2d", 24, 32, 256, 16, 4096, 3, "tanh", dtype),
        "prefill": lambda: language_model("prefill", 576, 576, dtype),
        "decode": lambda: language_model("decode", 1, 680, dtype),
    }
    chosen = [name for name in stages if name in words] or list(stages)
    with torch.inference_mode():
        for name in chosen:
            stages[name]()


main()
