"""What a PyTorch user gets on this CPU: one Med-2E3 request at the release's sizes, timed stage by stage.

usage: peer.py [--dtype bf16|f32] [--model DIR] [--threads T] [--repeat R] [--new-tokens K] [--json FILE]

Weights are those of a checkpoint folder (`engine-cli make-model --preset released`) or else noise of the same sizes;
either way only times and memory mean anything. Attention is PyTorch's fused one, also in MONAI's blocks, which the
official code runs unfused. The prompt has 34 ids, the image rows, and 30 ids; the question 20.
"""
import argparse
import json
import platform
import resource
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from torch import nn
from transformers.modeling_utils import no_init_weights

from model import Networks, load_configs

PREFIX_IDS, SUFFIX_IDS, QUESTION_IDS = 34, 30, 20
RELEASED = {
    "args": {"exp_id": 4, "llm_max_length": 768, "vision2d_connector_type": "mlp2x_gelu",
             "vision3d_connector_type": "spatial_pooling_score15_mlp2x_gelu"},
    "llm": {"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096, "sliding_window": 262144, "pad_token_id": 32000,
            "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [1.0] * 48}},
    "vision2d_model": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                       "num_attention_heads": 16, "image_size": 256, "patch_size": 16},
    "vision3d_model": {"img_size": [32, 256, 256], "patch_size": [4, 16, 16], "hidden_size": 768, "mlp_dim": 3072,
                       "num_layers": 12, "num_heads": 12},
}


class FusedAttention(nn.Module):
    """MONAI's self-attention with its weights and PyTorch's fused kernel."""

    def __init__(self, plain):
        super().__init__()
        self.qkv, self.out_proj, self.heads = plain.qkv, plain.out_proj, plain.num_heads

    def forward(self, x):
        batch, rows, hidden = x.shape
        q, k, v = self.qkv(x).view(batch, rows, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, rows, hidden))


def fill_with_noise(networks):
    """Noise in every matrix (one repeated block: drawing 4e9 numbers would take minutes), ones in every vector."""
    block = torch.empty(1 << 22).uniform_(-0.02, 0.02)
    for module in networks.parts().values():
        for tensor in module.parameters():
            flat = tensor.data.view(-1)
            if tensor.dim() < 2:
                flat.fill_(1.0)
                continue
            for start in range(0, flat.numel(), block.numel()):
                part = flat[start:start + block.numel()]
                part.copy_(block[:part.numel()])
        module.eval()


def build(folder, dtype):
    """The networks with fused attention, in `dtype`, without PyTorch's slow default initialisation."""
    torch.set_default_dtype(dtype)
    with no_init_weights():
        networks = Networks(load_configs(folder) if folder else RELEASED, attention="sdpa")
    if folder:
        networks.load(folder, dtype)
    else:
        fill_with_noise(networks)
    for block in networks.vision3d.vision_encoder.blocks:
        block.attn = FusedAttention(block.attn)
    return networks


class Request:
    """One request in steps; each step is timed on its own."""

    def __init__(self, networks, dtype):
        self.networks, self.stages = networks, {}
        draw = torch.Generator().manual_seed(0)
        ids = lambda count, rows: torch.randint(5, rows, (count,), generator=draw).tolist()
        vocab = networks.llm_config["vocab_size"]
        self.volume = torch.rand(networks.vision3d_config["img_size"], generator=draw, dtype=torch.float32).to(dtype)
        self.before, self.after = ids(PREFIX_IDS, vocab), ids(SUFFIX_IDS, vocab)
        kind = networks.guide_kind("checkpoint")
        bert_vocab = networks.vision3d.language_encoder.config.vocab_size
        self.question = ids(QUESTION_IDS, bert_vocab if kind == "text_mlp" else vocab)

    def encode_3d(self):
        self.networks.encode_3d(self.volume, self.stages)

    def encode_2d(self):
        if self.networks.args["exp_id"] != 0:
            self.networks.encode_2d(self.volume, self.stages)

    def tgis(self):
        self.networks.fuse(self.stages, self.question, "checkpoint")

    def prefill(self):
        networks = self.networks
        rows = torch.cat([networks.embed(self.before), self.stages["z_i"], networks.embed(self.after)])
        self.prompt_rows = len(rows)
        self.out = networks.llm(inputs_embeds=rows[None], use_cache=True, num_logits_to_keep=1)

    def decode(self):
        token = self.out.logits[:, -1:].argmax(-1)
        self.out = self.networks.llm(input_ids=token, past_key_values=self.out.past_key_values, use_cache=True)


def timed(step, repeat):
    """Milliseconds of each of `repeat` runs."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        step()
        times.append(round(1e3 * (time.perf_counter() - start), 1))
    return times


def cpu_name():
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.exists() else []
    return names[0] if names else platform.processor()


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeat", type=int, default=2, help="runs per stage; of two or more, the first only warms up")
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--json", type=Path, help="also write the result here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[args.dtype]
    start = time.perf_counter()
    networks = build(args.model, dtype)
    load_ms = 1e3 * (time.perf_counter() - start)
    request = Request(networks, dtype)
    runs = {name: timed(getattr(request, name), args.repeat) for name in ["encode_3d", "encode_2d", "tgis", "prefill"]}
    runs["decode"] = timed(request.decode, args.new_tokens)
    median = {f"{name}_ms": statistics.median(times[1:] or times) for name, times in runs.items()}
    result = {
        "cpu": cpu_name(), "threads": args.threads, "torch": torch.__version__,
        "transformers": transformers.__version__, "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "dtype": args.dtype, "load_ms": round(load_ms, 1),
        "weights": "checkpoint" if args.model else "noise", "prompt_rows": request.prompt_rows, **median,
        "peak_rss_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2), "runs_ms": runs}
    print(json.dumps(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
