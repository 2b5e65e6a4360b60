"""The three tiny base models of the goldens: sizes, random weights, and the files of each part."""
import json
import math

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Phi3ForCausalLM, SiglipVisionModel

import tokens
from model import Connector, Vision3d, phi3_config, siglip_config

# a: 32 slices, f32, `.bin`, plain rope.   b: bf16, grouped queries, head_dim 96, longrope, sharded.
# c: f16, odd sizes, the older spelling `su` with prompts past `original_max_position_embeddings`.
BASES = {
    "a": {
        "seed": 11, "dtype": torch.float32, "add_bos": False, "llm_max_length": 192, "sharded": set(),
        "bin": {"llm", "vision2d_model", "vision3d_model", "vision2d_connector", "vision3d_connector"},
        "vision3d": {"img_size": [32, 16, 16], "patch_size": [4, 4, 4], "hidden_size": 40, "mlp_dim": 72,
                     "num_layers": 2, "num_heads": 2},
        "bert": {"hidden_size": 28, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 52,
                 "max_position_embeddings": 64, "layer_norm_eps": 1e-12},
        "vision2d": {"hidden_size": 36, "intermediate_size": 68, "num_hidden_layers": 2, "num_attention_heads": 3,
                     "image_size": 16, "patch_size": 4},
        "llm": {"hidden_size": 72, "intermediate_size": 104, "num_hidden_layers": 2, "num_attention_heads": 3,
                "num_key_value_heads": 3, "max_position_embeddings": 4096, "original_max_position_embeddings": 4096,
                "rope_scaling": None, "sliding_window": 2047},
    },
    "b": {
        "seed": 22, "dtype": torch.bfloat16, "add_bos": True, "llm_max_length": 160,
        "bin": {"vision3d_model", "vision3d_connector"}, "sharded": {"llm"},
        "vision3d": {"img_size": [16, 32, 32], "patch_size": [4, 8, 8], "hidden_size": 48, "mlp_dim": 80,
                     "num_layers": 2, "num_heads": 2},
        "bert": {"hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 56,
                 "max_position_embeddings": 64, "layer_norm_eps": 1e-6},
        "vision2d": {"hidden_size": 44, "intermediate_size": 60, "num_hidden_layers": 3, "num_attention_heads": 2,
                     "image_size": 32, "patch_size": 8},
        "llm": {"hidden_size": 192, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
                "num_key_value_heads": 1, "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
                "rope_scaling": "longrope", "sliding_window": 262144},
    },
    "c": {
        "seed": 33, "dtype": torch.float16, "add_bos": False, "llm_max_length": 144, "bin": set(), "sharded": set(),
        "vision3d": {"img_size": [16, 24, 24], "patch_size": [2, 6, 6], "hidden_size": 42, "mlp_dim": 50,
                     "num_layers": 3, "num_heads": 3},
        "bert": {"hidden_size": 36, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 44,
                 "max_position_embeddings": 48, "layer_norm_eps": 1e-12},
        "vision2d": {"hidden_size": 38, "intermediate_size": 50, "num_hidden_layers": 2, "num_attention_heads": 1,
                     "image_size": 24, "patch_size": 8},
        "llm": {"hidden_size": 40, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 2,
                "num_key_value_heads": 2, "max_position_embeddings": 512, "original_max_position_embeddings": 64,
                "rope_scaling": "su", "sliding_window": 2047},
    },
}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def llm_config(base, vocab_rows, eos):
    """`llm/config.json`."""
    sizes = dict(base["llm"])
    if sizes["rope_scaling"]:
        half = sizes["hidden_size"] // sizes["num_attention_heads"] // 2
        sizes["rope_scaling"] = {
            "type": sizes["rope_scaling"], "short_factor": [round(1 + 0.04 * i, 2) for i in range(half)],
            "long_factor": [round(1.3 + 0.3 * i, 2) for i in range(half)]}
    return {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "vocab_size": vocab_rows, **sizes,
            "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
            "attention_dropout": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "initializer_range": 0.02,
            "bos_token_id": 1, "eos_token_id": eos, "pad_token_id": eos, "use_cache": True}


def vision2d_config(base):
    """`vision2d_model/config.json`: SigLIP's inner vision config."""
    return {"model_type": "siglip_vision_model", **base["vision2d"], "num_channels": 3, "layer_norm_eps": 1e-6,
            "hidden_act": "gelu_pytorch_tanh", "attention_dropout": 0.0}


def vision3d_config(base, bert_vocab):
    """`vision3d_model/config.json`, with BERT's sizes in `language_model_config`."""
    return {"model_type": "m3d_clip", "architectures": ["M3DCLIP"], "in_channels": 1, **base["vision3d"],
            "pos_embed": "perceptron", "spatial_dims": 3, "dropout_rate": 0.0, "max_text_len": 128,
            "vocab_size": bert_vocab, "language_model_name_or_path": "bert-base-uncased",
            "language_model_config": {"model_type": "bert", "vocab_size": bert_vocab, **base["bert"]}}


def args_config(base, exp_id, connector2d, connector3d, llm_max_length, configs):
    """`args/config.json`; `configs` are the three configs that it repeats."""
    hidden = base["llm"]["hidden_size"]
    connector = lambda kind, vision: {
        "connector_type": kind, "img_size": base["vision3d"]["img_size"], "patch_size": base["vision3d"]["patch_size"],
        "input_dim": base[vision]["hidden_size"], "output_dim": hidden, "model_type": ""}
    return {"exp_id": exp_id, "hidden_size": hidden, "cache_dir_hf": None,
            "llm_type": "phi3", "llm_attn_implementation": "flash_attention_2", "llm_config": configs["llm"],
            "llm_max_length": llm_max_length, "llm_padding_side": "right",
            "tokenizer_name_or_path": "tiny", "tokenizer_use_fast": False, "transformers_version": "4.46.3",
            "vision2d_model_type": "siglip", "vision2d_model_select_layer": -1,
            "vision2d_model_select_feature": "cls_patch", "vision2d_model_config": configs["vision2d_model"],
            "vision2d_connector_type": connector2d, "vision2d_connector_config": connector(connector2d, "vision2d"),
            "vision3d_model_type": "m3d", "vision3d_model_select_layer": -1, "vision3d_model_select_feature": "patch",
            "vision3d_model_config": configs["vision3d_model"],
            "vision3d_connector_type": connector3d, "vision3d_connector_config": connector(connector3d, "vision3d")}


def randomise(module, generator, gain=1.4):
    """Weights that make every term count: biases and norm weights vary, attention is not flat, nothing saturates."""
    for name, tensor in module.named_parameters():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name.lower() and tensor.dim() == 1:
            noise = noise * 0.2 + (1.0 if name.endswith("weight") else 0.0)
        elif ("embed" in name and "patch_embeddings" not in name and "patch_embedding.weight" not in name
              and not name.endswith("bias")) or name.endswith(("cls_token", "probe")):
            noise = noise * (1.0 if "embed_tokens" in name else 0.5)
        elif tensor.dim() < 2:
            noise = noise * 0.2
        else:
            noise = noise * (gain / math.sqrt(math.prod(tensor.shape[1:])))
        tensor.data.copy_(noise)
    return module


def quieten_lm_head(llm, live):
    """Shrinks the rows of ids that have no text of their own (bytes, `<unk>`, rows past the tokenizer)."""
    rows = torch.tensor([1.0 if i in live else 0.2 for i in range(llm.lm_head.weight.shape[0])])
    llm.lm_head.weight.data.mul_(rows[:, None])


def save_part(folder, base, part, module, sizes):
    """Writes a part's parameters in the base's dtype and file format, as the official code names them."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: p.detach().to(base["dtype"]).contiguous() for n, p in module.named_parameters()}
    sizes["parameters"] = sizes.get("parameters", 0) + sum(t.numel() for t in weights.values())
    if part in base["bin"]:
        torch.save(weights, folder / "pytorch_model.bin")
    elif part in base["sharded"]:
        names = list(weights)
        shards = {"model-00001-of-00002.safetensors": names[: len(names) // 2],
                  "model-00002-of-00002.safetensors": names[len(names) // 2:]}
        for file, held in shards.items():
            save_file({n: weights[n] for n in held}, folder / file, metadata={"format": "pt"})
        total = sum(t.numel() * t.element_size() for t in weights.values())
        write_json(folder / "model.safetensors.index.json", {
            "metadata": {"total_size": total}, "weight_map": {n: f for f, held in shards.items() for n in held}})
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_base(out, name, sizes):
    """Writes `out/<name>/`: llm, both vision towers, tokenizers. Returns the configs by part."""
    base, folder = BASES[name], out / name
    generator = torch.Generator().manual_seed(base["seed"])
    tokenizer, vocab = tokens.llm_tokenizer(base["add_bos"]), tokens.bert_vocab()
    eos, rows = tokenizer.token_to_id(tokens.EOS), tokenizer.get_vocab_size() + 5
    configs = {"llm": llm_config(base, rows, eos), "vision2d_model": vision2d_config(base),
               "vision3d_model": vision3d_config(base, len(vocab))}
    llm = randomise(Phi3ForCausalLM(phi3_config(configs["llm"])), generator)
    quieten_lm_head(llm, set(range(259, eos + 1)))
    save_part(folder / "llm", base, "llm", llm, sizes)
    save_part(folder / "vision2d_model", base, "vision2d_model",
              randomise(SiglipVisionModel(siglip_config(configs["vision2d_model"])), generator), sizes)
    save_part(folder / "vision3d_model", base, "vision3d_model",
              randomise(Vision3d(configs["vision3d_model"]), generator), sizes)
    for part, config in configs.items():
        write_json(folder / part / "config.json", config)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    write_json(folder / "tokenizer_config.json", tokens.tokenizer_config(base["add_bos"], base["llm_max_length"]))
    (folder / "vision3d_model/vocab.txt").write_text("\n".join(vocab) + "\n")
    return configs


def write_connector(out, name, part, label, kind, scale, sizes):
    """Writes one connector of base `name` as `out/<name>/<part>/<label>/`; `scale` multiplies the scoring tensors."""
    base = BASES[name]
    generator = torch.Generator().manual_seed(base["seed"] * 1000 + (2 if part == "vision2d_connector" else 3))
    inputs = base["vision2d" if part == "vision2d_connector" else "vision3d"]["hidden_size"]
    connector = Connector(kind, inputs, base["llm"]["hidden_size"], base["bert"]["hidden_size"])
    randomise(connector, generator)
    for tensor_name, tensor in connector.named_parameters():
        if not tensor_name.startswith("_connector"):
            tensor.data.mul_(scale)
    save_part(out / name / part / label, base, part, connector, sizes)


def volume(name):
    """A volume of the base's own size with every value in 1/256 ..= 1, each slice with its own pattern and level."""
    slices, height, width = BASES[name]["vision3d"]["img_size"]
    n, y, x = np.meshgrid(np.arange(slices), np.arange(height), np.arange(width), indexing="ij")
    level = (n * 53 + 17) % 160
    texture = (n * 7 + y * (3 + n % 5) + x * (5 + n % 3) + x * y) % 96
    return ((level + texture + 1) / 256).astype(np.float32)
