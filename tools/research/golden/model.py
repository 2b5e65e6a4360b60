"""Med-2E3 in PyTorch, out of transformers' and MONAI's modules: a checkpoint folder and a request to every stage."""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from monai.networks.blocks.patchembedding import PatchEmbeddingBlock
from monai.networks.blocks.transformerblock import TransformerBlock
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    Phi3Config,
    Phi3ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)

import tokens

PREFIX, SUFFIX = "spatial_pooling", "_mlp2x_gelu"
# Per 3D connector: what is scored, what guides the score, the temperature. None: no scores (3D only).
SCORING = {
    "": None,
    "_score6": ("both", "llm_mean", 1.0), "_score12": ("all_3d", "llm_mean", 1.0),
    "_score9": ("both", "linear", 1.0), "_score13": ("3d", "linear", 1.0), "_score14": ("2d", "linear", 1.0),
    "_score10": ("3d", "text_mlp", 5.0), "_score11": ("2d", "text_mlp", 5.0), "_score15": ("both", "text_mlp", 5.0),
}


# What the official files hold and the model does not compute with; a checkpoint may leave it out.
UNUSED = ("vision_model.head.", "vision_model.post_layernorm.", "vision_encoder.norm.", "mm_vision_proj.",
          "mm_language_proj.", "logit_scale")


def load_json(path):
    return json.loads(Path(path).read_text())


def load_configs(folder):
    """The four configs of a checkpoint folder, by part."""
    return {part: load_json(Path(folder) / part / "config.json")
            for part in ["args", "llm", "vision2d_model", "vision3d_model"]}


def load_weights(folder, dtype):
    """All tensors of one part: sharded safetensors, one safetensors file, or `pytorch_model.bin`."""
    folder, weights = Path(folder), {}
    index = folder / "model.safetensors.index.json"
    if index.exists():
        for shard in sorted(set(load_json(index)["weight_map"].values())):
            weights.update(load_file(folder / shard))
    elif (folder / "model.safetensors").exists():
        weights = load_file(folder / "model.safetensors")
    else:
        weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True, mmap=True)
    return {name: tensor.to(dtype) for name, tensor in weights.items()}


class Vit3d(nn.Module):
    """M3D-CLIP's vision encoder; its output is the last block's, without the final norm and the class token."""

    def __init__(self, config):
        super().__init__()
        hidden = config["hidden_size"]
        self.patch_embedding = PatchEmbeddingBlock(
            in_channels=1, img_size=config["img_size"], patch_size=config["patch_size"], hidden_size=hidden,
            num_heads=config["num_heads"], proj_type="perceptron", spatial_dims=3)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.blocks = nn.ModuleList(TransformerBlock(hidden, config["mlp_dim"], config["num_heads"])
                                    for _ in range(config["num_layers"]))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, volume):
        x = self.patch_embedding(volume[None, None])
        x = torch.cat([self.cls_token, x], dim=1)
        for block in self.blocks:
            x = block(x)
        return x[0, 1:]


class Vision3d(nn.Module):
    """All of `vision3d_model/`: the ViT, BERT, and the contrastive head that Med-2E3 does not use."""

    def __init__(self, config, attention="eager"):
        super().__init__()
        hidden, language = config["hidden_size"], BertConfig(**config.get("language_model_config", {}))
        language._attn_implementation = attention
        self.vision_encoder = Vit3d(config)
        self.language_encoder = BertModel(language)
        self.mm_vision_proj = nn.Linear(hidden, hidden)
        self.mm_language_proj = nn.Linear(language.hidden_size, language.hidden_size)
        self.logit_scale = nn.Parameter(torch.tensor(2.5))


class Connector(nn.Module):
    """A connector of either branch with the tensors of its scoring variant."""

    def __init__(self, kind, inputs, outputs, text):
        super().__init__()
        if kind == "linear":
            self._connector = nn.Linear(inputs, outputs)
        else:
            self._connector = nn.Sequential(nn.Linear(inputs, outputs), nn.GELU(), nn.Linear(outputs, outputs))
        guide = (scoring_of(kind) or (None, None))[1] if kind.startswith(PREFIX) else None
        if guide == "text_mlp":
            self.text_mlp = nn.Linear(text, outputs)
        if guide == "linear":
            self.scoring_module = nn.Linear(outputs, 1)


def scoring_of(kind):
    """The row of `SCORING` for a 3D connector's type."""
    return SCORING[kind.removeprefix(PREFIX).removesuffix(SUFFIX)]


def phi3_config(raw, attention="eager"):
    config = Phi3Config(**raw)
    config._attn_implementation = attention
    return config


def siglip_config(raw, attention="eager"):
    config = SiglipVisionConfig(**raw)
    config._attn_implementation = attention
    return config


class Networks:
    """The four networks and both connectors, and the glue between them up to the image rows.

    `configs` holds the JSON of `args`, `llm`, `vision2d_model` and `vision3d_model`. A dict of stages goes from step to
    step and gains the tensors that README.md lists.
    """

    def __init__(self, configs, attention="eager"):
        self.args, self.llm_config = configs["args"], configs["llm"]
        self.vision3d_config = configs["vision3d_model"]
        vision2d_config = siglip_config(configs["vision2d_model"], attention)
        kind2, self.kind3 = self.args["vision2d_connector_type"], self.args["vision3d_connector_type"]
        self.vision3d = Vision3d(self.vision3d_config, attention)
        self.vision2d = SiglipVisionModel(vision2d_config)
        self.llm = Phi3ForCausalLM(phi3_config(self.llm_config, attention))
        hidden, text = self.llm.config.hidden_size, self.vision3d.language_encoder.config.hidden_size
        self.connector2d = Connector(kind2, vision2d_config.hidden_size, hidden, text)
        self.connector3d = Connector(self.kind3, self.vision3d_config["hidden_size"], hidden, text)
        self.plane_pooling = kind2.startswith("plane_pooling")

    def parts(self):
        """The modules by the folder that holds their weights."""
        return {"vision3d_model": self.vision3d, "vision2d_model": self.vision2d, "llm": self.llm,
                "vision2d_connector": self.connector2d, "vision3d_connector": self.connector3d}

    def load(self, folder, dtype):
        """Reads all weights of a checkpoint folder; every parameter must be there but `UNUSED`, and nothing else."""
        for part, module in self.parts().items():
            missing, extra = module.load_state_dict(load_weights(Path(folder) / part, dtype), strict=False, assign=True)
            wanted = {name for name, _ in module.named_parameters() if not name.startswith(UNUSED)}
            assert not extra and not wanted & set(missing), (part, missing, extra)
            module.eval().to(dtype)

    def encode_3d(self, volume, stages):
        """`vit_tokens` and `z_3d`."""
        stages["vit_tokens"] = self.vision3d.vision_encoder(volume)
        grid = [n // p for n, p in zip(self.vision3d_config["img_size"], self.vision3d_config["patch_size"])]
        maps = stages["vit_tokens"].T.reshape(1, -1, *grid)
        wide = maps if maps.dtype == torch.float64 else maps.float()  # PyTorch has no bf16 pooling on the CPU
        stages["z_3d"] = self.connector3d._connector(F.avg_pool3d(wide, 2).to(maps.dtype).flatten(2)[0].T)

    def encode_2d(self, volume, stages):
        """`siglip_tokens` and `z_2d_slices`; the slices go through in one batch."""
        slices = self.vision2d(volume[:, None].expand(-1, 3, -1, -1), output_hidden_states=True).hidden_states[-1]
        stages["siglip_tokens"] = slices
        if self.plane_pooling:
            side = int(slices.shape[1] ** 0.5)
            maps = slices.transpose(1, 2).reshape(len(slices), -1, side, side)
            slices = F.avg_pool2d(maps, 2).flatten(2).transpose(1, 2)
        stages["z_2d_slices"] = self.connector2d._connector(slices)

    def encode(self, volume):
        """The stages that do not depend on the question."""
        stages = {}
        self.encode_3d(volume, stages)
        if self.args["exp_id"] != 0:
            self.encode_2d(volume, stages)
        return stages

    def guide_kind(self, tgis):
        """Whose ids `fuse` wants: `text_mlp` BERT's, `llm_mean` the LLM's; otherwise None or `linear`."""
        return scoring_of(self.kind3)[1] if self.args["exp_id"] != 0 and tgis == "checkpoint" else None

    def scores(self, stages):
        """`tgis_scores`: softmax over slices of the slice's mean token against the guide."""
        what, guide, temperature = scoring_of(self.kind3)
        z_3d, z_2d = stages["z_3d"], stages["z_2d_slices"]
        slices = len(z_2d)
        layers = slices // (2 * self.vision3d_config["patch_size"][0])
        per_layer = z_3d.reshape(layers, -1, z_3d.shape[-1]).repeat_interleave(slices // layers, 0)
        every = z_3d.expand(slices, *z_3d.shape)
        keys = {"3d": [per_layer], "2d": [z_2d], "both": [per_layer, z_2d], "all_3d": [every, z_2d]}[what]
        keys = torch.cat(keys, 1).mean(1)
        logits = self.connector3d.scoring_module(keys)[:, 0] if guide == "linear" else keys @ stages["z_t"]
        return torch.softmax(logits / temperature, 0)

    def fuse(self, stages, guide_ids, tgis):
        """Adds `z_t`, `tgis_scores`, `z_2d` and `z_i`; `guide_ids`: the question's ids (`guide_kind`)."""
        if self.args["exp_id"] == 0:
            stages["z_i"] = stages["z_3d"]
            return
        z_2d, kind = stages["z_2d_slices"], self.guide_kind(tgis)
        if kind == "text_mlp":
            stages["bert_pooler"] = self.vision3d.language_encoder(torch.tensor([guide_ids])).pooler_output[0]
            stages["z_t"] = self.connector3d.text_mlp(stages["bert_pooler"])
        if kind == "llm_mean":
            stages["z_t"] = self.llm.model.embed_tokens(torch.tensor(guide_ids)).mean(0)
        if tgis == "max":
            stages["z_2d"] = z_2d.amax(0)
        else:
            uniform = torch.full((len(z_2d),), 1 / len(z_2d), dtype=z_2d.dtype)
            stages["tgis_scores"] = uniform if tgis == "uniform" else self.scores(stages)
            stages["z_2d"] = torch.einsum("j,jid->id", stages["tgis_scores"], z_2d)
        stages["z_i"] = torch.cat([stages["z_3d"], stages["z_2d"]])

    def embed(self, ids):
        """Rows of the LLM's embedding table."""
        return self.llm.model.embed_tokens(torch.tensor(ids, dtype=torch.long))


class Med2E3(Networks):
    """The networks of one checkpoint folder with its weights and tokenizers: text in, text out."""

    def __init__(self, folder, dtype=torch.float32):
        folder = Path(folder)
        super().__init__(load_configs(folder))
        self.load(folder, dtype)
        self.dtype = dtype
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.add_bos = load_json(folder / "tokenizer_config.json")["add_bos_token"]
        self.bert_tokenizer = BertTokenizer(str(folder / "vision3d_model/vocab.txt"))

    def guide_ids(self, question, tgis):
        """The question's token ids for `fuse`."""
        kind = self.guide_kind(tgis)
        if kind == "text_mlp":
            limit = min(512, self.vision3d.language_encoder.config.max_position_embeddings)
            return self.bert_tokenizer(question, truncation=True, max_length=limit)["input_ids"]
        return self.tokenizer.encode(question, add_special_tokens=False).ids if kind == "llm_mean" else None

    def eos(self):
        """Every id that ends the answer: the config's (number or list) and the tokenizer's."""
        ids = self.llm_config["eos_token_id"]
        return set(ids if isinstance(ids, list) else [ids]) | {self.tokenizer.token_to_id(tokens.EOS)}

    def prefill(self, messages, stages):
        """Runs the prompt; returns its ids, its number of rows and the model's output with the KV cache."""
        prompt = tokens.prompt_ids(self.tokenizer, messages, self.add_bos)
        at = prompt.index(tokens.IMAGE_3D)
        rows = torch.cat([self.embed(prompt[:at]), stages["z_i"], self.embed(prompt[at + 1:])])
        out = self.llm(inputs_embeds=rows[None], use_cache=True, output_hidden_states=True)
        stages["prompt_embeddings"] = rows
        stages["llm_layer_0"], stages["llm_norm"] = out.hidden_states[1][0], out.hidden_states[-1][0]
        stages["prompt_logits"] = out.logits[0, -1]
        return prompt, len(rows), out

    def generate(self, out, steps, forced=None):
        """Greedy decoding, or the tokens `forced`: the logits of each step and the ids, the last one the eos where it
        ended the answer."""
        ids, logits, eos = [], [], self.eos()
        while len(ids) < steps:
            logits.append(out.logits[0, -1])
            ids.append(int(logits[-1].argmax()) if forced is None else forced[len(ids)])
            if ids[-1] in eos:
                break
            out = self.llm(input_ids=torch.tensor([[ids[-1]]]), past_key_values=out.past_key_values, use_cache=True)
        return torch.stack(logits), ids

    @torch.no_grad()
    def ask(self, volume, messages, question=None, tgis="checkpoint", max_new_tokens=32, forced=None):
        """One request: a dict of stages, a dict of facts about the text, and each step's logits."""
        stages = self.encode(torch.as_tensor(volume).to(self.dtype))
        guide = messages[-1].replace("<image3d>", "").strip() if question is None else question
        ids = self.guide_ids(guide, tgis)
        self.fuse(stages, ids, tgis)
        prompt, rows, out = self.prefill(messages, stages)
        room = self.args["llm_max_length"] - rows
        assert room > 0, f"the prompt has {rows} rows, the limit is {self.args['llm_max_length']}"
        logits, generated = self.generate(out, min(max_new_tokens, room), forced)
        stopped = generated[-1] in self.eos()
        kept = generated[:-1] if stopped else generated
        return stages, {
            "prompt_text": tokens.prompt_text(tokens.with_image(messages)), "prompt_ids": prompt, "prompt_rows": rows,
            "tgis_question": guide, "bert_ids": ids if "bert_pooler" in stages else None,
            "token_ids": kept, "text": self.tokenizer.decode(kept),
            "finish_reason": "stop" if stopped else "length", "stop_token_id": generated[-1] if stopped else None,
        }, logits
