"""
SigLIP, and SigLIP 2 of a fixed resolution, as google/siglip-base-patch16-224 and google/siglip2-so400m-patch14-384.

Names, wiring and settings: huggingface/transformers (github.com), models/siglip/modeling_siglip.py. A text sees its
padding and is read at its last position, so all are padded to the one width there is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import SiglipConfig, SiglipModel

from ..checkpoint import Checkpoint
from ..decoder import config_from
from ..folder import write_json
from ..tokens import Tokens, copy_tokenizer
from ..towers import Clip, Tower, count_positions, export_clip, resize, resized, unit
from . import Family, Options
from .clip import projected, side_of


class Attention(nn.Module):
    """nn.MultiheadAttention with a linear layer for each of its parts, which can be quantised."""

    def __init__(self, whole: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = whole.num_heads
        weights, biases = whole.in_proj_weight.chunk(3), whole.in_proj_bias.chunk(3)
        self.q_proj, self.k_proj, self.v_proj = (linear(w, b) for w, b in zip(weights, biases, strict=True))
        self.out_proj = linear(whole.out_proj.weight, whole.out_proj.bias)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor]:
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, x in [(self.q_proj, query), (self.k_proj, key), (self.v_proj, value)]
        )
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        seen = scores.float().softmax(-1).to(v.dtype) @ v
        return (self.out_proj(seen.transpose(1, 2).flatten(2)),)


def linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()}, assign=True)
    return layer


class Vision(Tower):
    """pixel_values float32 [images, 3, side, side] → image_embeds float32 [images, size]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vision_model = model.vision_model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return unit(self.vision_model(pixel_values=pixel_values).pooler_output)

    reference = forward


class Text(Tower):
    """input_ids int64 [texts, width] → text_embeds float32 [texts, size]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.text_model = model.text_model

    @property
    def table(self) -> nn.Embedding:
        return self.text_model.embeddings.token_embedding

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        positions = self.text_model.embeddings.position_embedding.weight
        hidden = self.table(input_ids).to(positions.dtype) + positions
        for layer in self.text_model.encoder.layers:
            hidden = layer(hidden, attention_mask=None)
        return unit(projected(self.text_model.head, self.text_model.final_layer_norm(hidden[:, -1])))

    def reference(self, given: torch.Tensor) -> torch.Tensor:
        return unit(self.text_model(input_ids=given).pooler_output)


def network(checkpoint: Checkpoint, config: SiglipConfig, side: int) -> nn.Module:
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = SiglipModel(config)
    names = {name: name for name, _ in model.named_parameters()}
    checkpoint.load_into(model.eval(), names, [r".*\.position_ids"], "model*.safetensors")
    model.vision_model.head.attention = Attention(model.vision_model.head.attention)
    for part in (model.text_model, model.vision_model):
        count_positions(part.embeddings)
    if side != config.vision_config.image_size:
        resize(model.vision_model, side, config.vision_config.image_size)
    return model


def tokenizer(checkpoint: Checkpoint, out: Path) -> Tokens:
    """The tokenizer, with the side that texts are padded on said: transformers has it by the tokenizer's class."""
    tokens = copy_tokenizer(checkpoint, out)
    kind = str(tokens.config.get("tokenizer_class", ""))
    tokens.config.setdefault("padding_side", "left" if kind.startswith(("Siglip2", "Gemma")) else "right")
    write_json(out / "tokenizer_config.json", tokens.config)
    return tokens


def export(checkpoint: Checkpoint, out: Path, options: Options) -> None:
    config = config_from(SiglipConfig, checkpoint.config)
    side = side_of(config, options)
    settings = checkpoint.config | {"vision_config": checkpoint.config.get("vision_config", {}) | {"image_size": side}}
    clip = Clip(
        vision=lambda: Vision(network(checkpoint, config, side)),
        text=lambda: Text(network(checkpoint, config, side)),
        side=side,
        width=config.text_config.max_position_embeddings,
        padded=True,
        tokenizer=lambda: tokenizer(checkpoint, out),
        config=settings,
        preprocessor=resized(checkpoint.json("preprocessor_config.json"), side),
        licence=None,
    )
    export_clip(clip, checkpoint, out, options.dtype)


def recognises(checkpoint: Checkpoint) -> bool:
    return checkpoint.config.get("model_type") == "siglip"


FAMILY = Family("siglip", recognises, export, takes_image_size=True)
