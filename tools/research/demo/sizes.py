"""The demo's sizes and its checkpoint folder in the official layout."""
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))
import bases
from model import UNUSED

BASE = {
    "llm_max_length": 768, "add_bos": False, "dtype": torch.bfloat16,
    "vision3d": {"img_size": [32, 64, 64], "patch_size": [4, 16, 16], "hidden_size": 128, "mlp_dim": 384,
                 "num_layers": 3, "num_heads": 4},
    "bert": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256,
             "max_position_embeddings": 64, "layer_norm_eps": 1e-12},
    "vision2d": {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4,
                 "image_size": 64, "patch_size": 8},
    "llm": {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 4, "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
            "rope_scaling": "longrope", "sliding_window": 262144},
}
CONNECTOR_2D, CONNECTOR_3D = "mlp2x_gelu", "spatial_pooling_score15_mlp2x_gelu"


def configs(vocab_rows, eos, bert_rows):
    """The JSON of `args`, `llm`, `vision2d_model` and `vision3d_model`."""
    parts = {"llm": bases.llm_config(BASE, vocab_rows, eos), "vision2d_model": bases.vision2d_config(BASE),
             "vision3d_model": bases.vision3d_config(BASE, bert_rows)}
    parts["args"] = bases.args_config(BASE, 4, CONNECTOR_2D, CONNECTOR_3D, BASE["llm_max_length"], parts)
    return parts


def write(folder, networks, parts, tokenizer, vocab, normalisation):
    """Writes the checkpoint in bf16, the input's normalisation folded into both patch embeddings; what the model does
    not compute with is left out."""
    folder = Path(folder)
    for part, module in networks.parts().items():
        weights = {name: tensor.detach().float() for name, tensor in module.named_parameters()
                   if not name.startswith(UNUSED)}
        fold(weights, normalisation)
        (folder / part).mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.to(BASE["dtype"]).contiguous() for name, tensor in weights.items()},
                  folder / part / "model.safetensors", metadata={"format": "pt"})
    for part, config in parts.items():
        bases.write_json(folder / part / "config.json", config)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    bases.write_json(folder / "tokenizer_config.json",
                     bases.tokens.tokenizer_config(BASE["add_bos"], BASE["llm_max_length"]))
    (folder / "vision3d_model/vocab.txt").write_text("\n".join(vocab) + "\n")


PATCH_EMBEDDINGS = {"vision_model.embeddings.patch_embedding": (1, 2, 3),
                    "vision_encoder.patch_embedding.patch_embeddings.1": (1,)}


def fold(weights, normalisation):
    """Training sees `(voxel - mean) / std`; the checkpoint takes the voxel: w' = w / std, b' = b - mean * sum(w')."""
    mean, std = normalisation
    for name, axes in PATCH_EMBEDDINGS.items():
        if f"{name}.weight" in weights:
            weights[f"{name}.weight"] = weights[f"{name}.weight"] / std
            weights[f"{name}.bias"] = weights[f"{name}.bias"] - mean * weights[f"{name}.weight"].sum(axes)
