"""
CLIP as transformers has it: openai/clip-vit-base-patch32 and its sisters, and all that was saved by CLIPModel.

Names, wiring and settings: huggingface/transformers (github.com), models/clip/modeling_clip.py. A text is read at its
end token and sees nothing behind it, so it is not padded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from ..checkpoint import OPEN_CLIP, Checkpoint
from ..decoder import config_from
from ..errors import ExportError
from ..tokens import copy_tokenizer
from ..towers import Clip, Tower, count_positions, export_clip, resize, resized, unit
from . import Family, Options

WEIGHTS = "model*.safetensors"
POSITIONS = r".*\.position_ids"


def projected(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """layer(x) over three axes: that is a MatMul, which is quantised; over two it would be a Gemm."""
    return layer(x[:, None]).squeeze(1)


class Vision(Tower):
    """pixel_values float32 [images, 3, side, side] → image_embeds float32 [images, size]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vision_model, self.visual_projection = model.vision_model, model.visual_projection

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return unit(projected(self.visual_projection, self.vision_model(pixel_values=pixel_values).pooler_output))

    reference = forward


class Text(Tower):
    """input_ids int64 [texts, width] → text_embeds float32 [texts, size]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.text_model, self.text_projection = model.text_model, model.text_projection
        self.end = model.text_model.eos_token_id

    @property
    def table(self) -> nn.Embedding:
        return self.text_model.embeddings.token_embedding

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        positions = self.text_model.embeddings.position_embedding
        width, dtype = input_ids.shape[1], positions.weight.dtype
        places = torch.arange(width)
        hidden = self.table(input_ids).to(dtype) + positions(places)
        mask = torch.where(places[:, None] >= places[None, :], 0.0, torch.finfo(dtype).min).to(dtype)[None, None]
        for layer in self.text_model.encoder.layers:
            hidden = layer(hidden, attention_mask=mask)
        # Old configs say 2, and mean the highest id there is.
        ends = input_ids if self.end == 2 else input_ids == self.end
        at = ends.int().argmax(dim=1)[:, None, None].expand(-1, 1, hidden.shape[2])
        read = self.text_model.final_layer_norm(hidden.gather(1, at).squeeze(1))
        return unit(projected(self.text_projection, read))

    def reference(self, given: torch.Tensor) -> torch.Tensor:
        return unit(self.text_projection(self.text_model(input_ids=given).pooler_output))


def empty(config: CLIPConfig) -> nn.Module:
    """The network of `config` but for its weights, which Checkpoint.load_into() gives it."""
    config._attn_implementation = "eager"
    with torch.device("meta"):
        network = CLIPModel(config)
    return network.eval()


def sized(network: nn.Module, side: int) -> nn.Module:
    """The network with its weights, for pictures of `side` pixels."""
    own = network.config.vision_config.image_size
    for part in (network.text_model, network.vision_model):
        count_positions(part.embeddings)
    if side != own:
        resize(network.vision_model, side, own)
    return network


def towers(build: Callable[[], nn.Module]) -> tuple[Callable[[], Vision], Callable[[], Text]]:
    return lambda: Vision(build()), lambda: Text(build())


def side_of(config: CLIPConfig, options: Options) -> int:
    side = options.image_size or config.vision_config.image_size
    patch = config.vision_config.patch_size
    if side % patch != 0:
        raise ExportError(f"--image-size {side} is no multiple of {patch}, the side of a patch")
    return side


def export(checkpoint: Checkpoint, out: Path, options: Options) -> None:
    config = config_from(CLIPConfig, checkpoint.config)
    side = side_of(config, options)

    def build() -> nn.Module:
        network = empty(config)
        names = {name: name for name, _ in network.named_parameters()}
        checkpoint.load_into(network, names, [POSITIONS], WEIGHTS)
        return sized(network, side)

    vision, text = towers(build)
    settings = checkpoint.config | {"vision_config": checkpoint.config.get("vision_config", {}) | {"image_size": side}}
    clip = Clip(
        vision,
        text,
        side,
        width=config.text_config.max_position_embeddings,
        padded=False,
        tokenizer=lambda: copy_tokenizer(checkpoint, out, CLIPTokenizer),
        config=settings,
        preprocessor=resized(checkpoint.json("preprocessor_config.json"), side),
        licence=None,
    )
    export_clip(clip, checkpoint, out, options.dtype)


def recognises(checkpoint: Checkpoint) -> bool:
    return checkpoint.config.get("model_type") == "clip" and not is_open_clip(checkpoint)


def is_open_clip(checkpoint: Checkpoint) -> bool:
    return checkpoint.has(OPEN_CLIP) and checkpoint.has("open_clip_model.safetensors")


FAMILY = Family("clip", recognises, export, takes_image_size=True)
