"""Writes the torch.save samples beside this file: `python make_torch_samples.py`, any PyTorch from 1.13 on."""

from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def sample():
    """Values are small whole numbers, exact in every type; the layouts are those that checkpoints have."""
    base = torch.arange(24, dtype=torch.float32)
    return {
        "f32": base.reshape(4, 6).clone(),
        "f16": (base - 12).to(torch.float16).reshape(2, 3, 4),
        "bf16": (base * 2).to(torch.bfloat16),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 5),
        "transposed": base.reshape(4, 6).clone().t(),
        "shared.head": base[:10],
        "shared.tail": base[10:].reshape(2, 7),
        "shared.columns": base.reshape(4, 6)[:, 1:3],
        "parameter": torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.bfloat16)),
        "layer.base_layer.weight": torch.full((2, 2), 7.0),
        "position_ids": torch.arange(5).unsqueeze(0),
    }


class Model(torch.nn.Module):
    """Its state_dict is an OrderedDict with a `_metadata` attribute."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)
        with torch.no_grad():
            self.inner.weight.copy_(torch.arange(6.0).reshape(2, 3))
            self.inner.bias.copy_(torch.tensor([10.0, 20.0]))


if __name__ == "__main__":
    torch.save(sample(), HERE / "sample.bin")
    torch.save(Model().state_dict(), HERE / "state_dict.bin")
    torch.save({"f32": torch.ones(2)}, HERE / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"wide": torch.ones(1).expand(1000, 1000)}, HERE / "expanded.bin")
    torch.save({"model": {"f32": torch.ones(2)}}, HERE / "nested.bin")
    torch.save({"call": print}, HERE / "global.bin")
    assert isinstance(Model().state_dict(), OrderedDict)
