"""Med-2E3 for training: the modules of the golden reference, run over batches of volumes and of questions."""
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))
from model import Networks

NORMALISATION = (0.35, 0.25)  # of voxels, while training; `sizes.fold` puts it into the weights
TEMPERATURE = 5.0
PAD = 0


def initialise(networks, std):
    """Normal weights of one deviation, wider than transformers' 0.02, which is meant for hidden sizes of thousands."""
    for name, tensor in networks.named_parameters():
        if tensor.dim() >= 2:
            nn.init.normal_(tensor, std=std)
        elif "norm" not in name.lower():
            nn.init.zeros_(tensor)


def waves(grid, hidden):
    """Sines and cosines of each axis' position, `[tokens, hidden]`: neighbours begin alike, which small data needs."""
    each = hidden // (2 * len(grid))
    rates = 50.0 ** (-torch.arange(each) / each)
    angles = [at.flatten()[:, None] * rates for at in torch.meshgrid(*map(torch.arange, grid), indexing="ij")]
    table = torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], 1)
    return F.pad(table, (0, hidden - table.shape[1]))


def attention(query, key, value, causal=False):
    """softmax(q k^T) v as two matrix products: the fused one's backward is slow at these sizes."""
    weights = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if causal:
        rows = query.shape[-2]
        weights = weights + torch.full((rows, rows), -1e4, dtype=weights.dtype).triu(1)
    return weights.softmax(-1).to(value.dtype) @ value


def heads_of(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def vit_block(block, x):
    """MONAI's transformer block with `attention` above."""
    attn = block.attn
    query, key, value = attn.qkv(block.norm1(x)).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    x = x + attn.out_proj(attention(query, key, value).transpose(1, 2).flatten(2))
    return x + block.mlp.linear2(F.gelu(block.mlp.linear1(block.norm2(x))))


def siglip_layer(layer, x):
    """transformers' SigLIP layer with `attention` above."""
    attn, normed = layer.self_attn, layer.layer_norm1(x)
    query, key, value = (heads_of(p(normed), attn.num_heads) for p in (attn.q_proj, attn.k_proj, attn.v_proj))
    x = x + attn.out_proj(attention(query, key, value).transpose(1, 2).flatten(2))
    return x + layer.mlp.fc2(F.gelu(layer.mlp.fc1(layer.layer_norm2(x)), approximate="tanh"))


def rms_norm(norm, x):
    return F.rms_norm(x.float(), x.shape[-1:], norm.weight.float(), norm.variance_epsilon).to(x.dtype)


def phi3_layer(layer, x, cos, sin):
    """transformers' Phi-3 layer with `attention` above; every head has its own keys."""
    attn = layer.self_attn
    query, key, value = attn.qkv_proj(rms_norm(layer.input_layernorm, x)).unflatten(-1, (3, attn.num_heads, -1)) \
        .permute(2, 0, 3, 1, 4)
    half = query.shape[-1] // 2
    turn = lambda t: t * cos + torch.cat([-t[..., half:], t[..., :half]], -1) * sin
    x = x + attn.o_proj(attention(turn(query), turn(key), value, causal=True).transpose(1, 2).flatten(2))
    gate, up = layer.mlp.gate_up_proj(rms_norm(layer.post_attention_layernorm, x)).chunk(2, -1)
    return x + layer.mlp.down_proj(up * F.silu(gate))


class Med2E3(nn.Module):
    """The networks as one module."""

    def __init__(self, configs, seed, std=0.05):
        super().__init__()
        torch.manual_seed(seed)
        self.networks = Networks(configs, attention="eager")
        self.parts = nn.ModuleDict(self.networks.parts())
        initialise(self.parts, std)
        config = configs["vision3d_model"]
        self.grid = [n // p for n, p in zip(config["img_size"], config["patch_size"])]
        self.slices = config["img_size"][0]
        self.layers = self.grid[0] // 2
        vision, vit = self.networks.vision2d.vision_model, self.networks.vision3d.vision_encoder
        side = configs["vision2d_model"]["image_size"] // configs["vision2d_model"]["patch_size"]
        for table, grid in [(vision.embeddings.position_embedding.weight, [side, side]),
                            (vit.patch_embedding.position_embeddings, self.grid)]:
            with torch.no_grad():
                table.copy_(waves(grid, table.shape[-1]) * 0.3)

    def encode_3d(self, voxels):
        """`[B, slices, rows, columns]` -> z_3d `[B, K, D]`, and the patches' hidden state before the last block."""
        mean, std = NORMALISATION
        vit = self.networks.vision3d.vision_encoder
        x = vit.patch_embedding(((voxels - mean) / std)[:, None])
        x = torch.cat([vit.cls_token.expand(len(x), -1, -1).to(x.dtype), x], 1)
        for block in vit.blocks:
            inner, x = x, vit_block(block, x)
        x = x[:, 1:].unflatten(1, [n for g in self.grid for n in (g // 2, 2)]).mean((2, 4, 6)).flatten(1, 3)
        return self.networks.connector3d._connector(x), inner[:, 1:]

    def encode_2d(self, slices):
        """`[B, rows, columns]` -> z_2d_slices `[B, M, D]`, and the patches' hidden state before the last layer.

        The three equal channels are summed in the weights.
        """
        mean, std = NORMALISATION
        vision = self.networks.vision2d.vision_model
        embed = vision.embeddings.patch_embedding
        size = embed.weight.shape[-1]
        count = slices.shape[-1] // size
        patches = ((slices - mean) / std).unflatten(1, (count, size)).unflatten(3, (count, size)) \
            .permute(0, 1, 3, 2, 4).reshape(len(slices), count * count, size * size)
        x = F.linear(patches, embed.weight.sum(1).flatten(1), embed.bias) + vision.embeddings.position_embedding.weight
        for layer in vision.encoder.layers:
            inner, x = x, siglip_layer(layer, x)
        return self.networks.connector2d._connector(x), inner

    def keys(self, z_3d, z_2d_slices):
        """Mean token of each slice and its depth layer, `[B, slices, D]`."""
        per_layer = z_3d.unflatten(1, (self.layers, -1))
        repeats = self.slices // self.layers
        three, two = per_layer.shape[2], z_2d_slices.shape[2]
        mean_3d = per_layer.float().mean(2).repeat_interleave(repeats, 1)
        return (three * mean_3d + two * z_2d_slices.float().mean(2)) / (three + two)

    def encode(self, voxels):
        """z_3d `[B, K, D]`, z_2d_slices `[B, slices, M, D]`, and the slices' keys."""
        z_3d, _ = self.encode_3d(voxels)
        z_2d = self.encode_2d(voxels.flatten(0, 1))[0].unflatten(0, voxels.shape[:2])
        return z_3d, z_2d, self.keys(z_3d, z_2d)

    def guide(self, bert_ids):
        """z_t `[Q, D]`."""
        pooled = self.networks.vision3d.language_encoder(bert_ids, attention_mask=(bert_ids != PAD).long())
        return self.networks.connector3d.text_mlp(pooled.pooler_output)

    def score_logits(self, keys, z_t, volume_of):
        return torch.einsum("qnd,qd->qn", keys[volume_of], z_t.float()) / TEMPERATURE

    @staticmethod
    def mix(scores, z_2d_slices, volume_of):
        """z_2d `[Q, M, D]`; questions come volume by volume."""
        out, begin = [], 0
        for volume, count in zip(*(t.tolist() for t in torch.unique_consecutive(volume_of, return_counts=True))):
            part = scores[begin:begin + count].to(z_2d_slices.dtype) @ z_2d_slices[volume].flatten(1)
            out.append(part.unflatten(1, z_2d_slices.shape[2:]))
            begin += count
        return torch.cat(out)

    def embed(self, ids):
        return self.networks.llm.model.embed_tokens(ids)

    def language(self, prefix, z_3d, z_2d, ids):
        """Hidden states of the rows of `ids`, after the prefix and the image rows."""
        dtype = z_2d.dtype
        x = torch.cat([self.embed(prefix).to(dtype).expand(len(ids), -1, -1), z_3d.to(dtype), z_2d,
                       self.embed(ids).to(dtype)], 1)
        llm = self.networks.llm.model
        cos, sin = self.rotation(x.shape[1])
        for layer in llm.layers:
            x = phi3_layer(layer, x, cos.to(dtype), sin.to(dtype))
        return rms_norm(llm.norm, x[:, -ids.shape[1]:])

    def rotation(self, rows):
        rotary = self.networks.llm.model.layers[0].self_attn.rotary_emb
        cos, sin = rotary(torch.zeros(1, dtype=torch.float32), torch.arange(rows)[None])
        return cos[0], sin[0]

    def logits(self, hidden):
        return self.networks.llm.lm_head(hidden)
