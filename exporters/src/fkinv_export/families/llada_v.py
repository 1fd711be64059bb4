"""
LLaDA-V: LLaDA under Llama's names, which sees a picture by SigLIP 2 (so400m, patches of 14, 384 pixels) without its
last layer, two linear layers with GELU, and `image_newline` behind the 729 features that they give.

Names, wiring and settings: ML-GSAI/LLaDA-V (github.com), train/llava/model/llava_arch.py for what goes in place of
<image>, multimodal_encoder/siglip_encoder.py for the tower, multimodal_projector/builder.py (mlp2x_gelu),
conversation.py (`llava_llada`) and train/generate_demo.py for the template; the checkpoint is GSAI-ML/LLaDA-V
(huggingface.co). A picture is one tile here: the authors' `anyres` adds more of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, SiglipVisionConfig, SiglipVisionModel

from ..checkpoint import Checkpoint
from ..decoder import Decoder, config_from, empty
from ..dllm import Dllm, export_dllm
from ..errors import ExportError
from ..folder import write_json
from ..graph import Input
from ..tokens import Tokens
from ..towers import count_positions, write_vision
from . import Family, Options, chat

SIDE, PATCH, HEAD = 384, 14, 72
"""Of the tower: pixels of a picture's side and of a patch's, and numbers of a head."""

FEATURES = (SIDE // PATCH) ** 2 + 1
TOWER = "model.vision_tower.vision_tower.vision_model"
IMAGE = "<image>"

TEMPLATE = (
    "<|startoftext|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and vision assistant. You "
    "are able to understand the visual content that the user provides, and assist the user with a variety of tasks "
    "using natural language.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n<image>\n{instruction}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)

SETTINGS = {"mm_projector_type": "mlp2x_gelu", "mm_patch_merge_type": "spatial_unpad", "attention_bias": False}

PREPROCESSOR = {
    "do_resize": True,
    "size": {"height": SIDE, "width": SIDE},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


class Seeing(Decoder):
    """
    input_ids int64 [states, positions], in which one id is `image`, rows int64 [n], image_features float32 [states,
    features, width] → logits float32 [states, n, columns] of those rows of input_ids. The network's own sequence has
    the features in place of that id.
    """

    def __init__(self, network: nn.Module, image: int) -> None:
        super().__init__(network)
        self.image = image

    def forward(self, input_ids: torch.Tensor, rows: torch.Tensor, image_features: torch.Tensor) -> torch.Tensor:
        dtype = self.lm_head.weight.dtype
        states, positions = input_ids.shape
        features = image_features.shape[1]
        at = (input_ids == self.image).int().argmax(dim=1, keepdim=True)
        tokens = self.model.embed_tokens(input_ids).to(dtype)
        place = torch.arange(positions + features - 1)[None, :]
        # Where each place of the sequence is among the tokens and the features behind them.
        behind = torch.where(place < at + features, positions + place - at, place - features + 1)
        hidden = picked(torch.cat([tokens, image_features.to(dtype)], dim=1), torch.where(place < at, place, behind))
        angles = self.model.rotary_emb(hidden, place)
        for layer in self.model.layers:
            hidden = layer(hidden, attention_mask=None, position_embeddings=angles)
        wanted = rows[None, :] + torch.where(rows[None, :] > at, features - 1, 0)
        return self.lm_head(self.model.norm(picked(hidden, wanted))).float()

    def reference(self, input_ids: torch.Tensor, rows: torch.Tensor, image_features: torch.Tensor) -> torch.Tensor:
        """The same by the network's own forward, a state at a time, its sequence put together of its pieces."""
        logits = []
        for ids, features in zip(input_ids, image_features, strict=True):
            at = ids.tolist().index(self.image)
            tokens = self.model.embed_tokens(ids)
            sequence = torch.cat([tokens[:at], features, tokens[at + 1 :]])[None]
            mask = torch.zeros(1, 1, sequence.shape[1], sequence.shape[1])
            all_rows = self._network[0](inputs_embeds=sequence, attention_mask=mask, use_cache=False).logits[0]
            own = torch.cat([all_rows[: at + 1], all_rows[at + len(features) :]])
            logits.append(own[rows])
        return torch.stack(logits)


def picked(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """x [states, n, size] at `places` [states, m] → [states, m, size]."""
    first = torch.arange(x.shape[0])[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (places + first).flatten()).reshape(x.shape[0], -1, x.shape[2])


class Vision(nn.Module):
    """pixel_values float32 [images, 3, 384, 384] → image_features float32 [images, 730, width]."""

    def __init__(self, tower: nn.Module, width: int) -> None:
        super().__init__()
        inner = tower.config.hidden_size
        self.embeddings, self.layers = tower.embeddings, tower.encoder.layers
        self.projector = nn.Sequential(nn.Linear(inner, width), nn.GELU(), nn.Linear(width, width))
        self.image_newline = nn.Parameter(torch.empty(width))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        hidden = self.embeddings(pixel_values)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=None)
        newline = self.image_newline.expand(hidden.shape[0], 1, -1)
        return torch.cat([self.projector(hidden), newline], dim=1).float()

    reference = forward


def vision(checkpoint: Checkpoint) -> Vision:
    names = checkpoint.weight_files()
    depth = sum(name.startswith(TOWER) and name.endswith("layer_norm1.weight") for name in names)
    width = checkpoint.setting("mm_hidden_size")
    config = SiglipVisionConfig(
        hidden_size=width,
        intermediate_size=checkpoint.shape(f"{TOWER}.encoder.layers.0.mlp.fc1.weight")[0],
        num_hidden_layers=depth,
        num_attention_heads=width // HEAD,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    config._attn_implementation = "eager"
    with torch.device("meta"):
        tower = SiglipVisionModel(config)
        made = Vision(getattr(tower, "vision_model", tower), checkpoint.setting("hidden_size"))
    of_text = [r"model\.(embed_tokens|layers|norm)\..*", r"lm_head\..*"]
    unused = [*of_text, rf"{re.escape(TOWER)}\.post_layernorm\..*"]
    checkpoint.load_into(made.eval(), {name: vision_name(name) for name, _ in made.named_parameters()}, unused)
    count_positions(made.embeddings)
    return made


def vision_name(parameter: str) -> str:
    """What the checkpoint calls a parameter of Vision."""
    if parameter == "image_newline":
        return "model.image_newline"
    if parameter.startswith("projector."):
        return parameter.replace("projector", "model.mm_projector")
    return f"{TOWER}.{parameter}" if parameter.startswith("embeddings") else f"{TOWER}.encoder.{parameter}"


def network(checkpoint: Checkpoint, image: int) -> Seeing:
    checkpoint.expect(SETTINGS)
    model = empty(config_from(LlamaConfig, checkpoint.config))
    names = {name: name for name, _ in model.named_parameters()}
    checkpoint.load_into(model, names, [r"model\.(vision_tower|mm_projector)\..*", r"model\.image_newline"])
    model.tie_weights()
    return Seeing(model, image)


def image_id(checkpoint: Checkpoint) -> int:
    """The id of <image>: the authors look for it in the text, and their tokenizer has no such token; the next one."""
    tokenizer = checkpoint.json("tokenizer.json")
    ids = {one["content"]: one["id"] for one in tokenizer.get("added_tokens", [])}
    highest = max([*tokenizer["model"]["vocab"].values(), *ids.values()])
    found = ids.get(IMAGE, highest + 1)
    if found >= checkpoint.setting("vocab_size"):
        raise ExportError(f"{checkpoint.file('tokenizer.json')}: there is no id left for {IMAGE}")
    return int(found)


def manifest(checkpoint: Checkpoint, tokens: Tokens) -> dict[str, Any]:
    stops = [tokens.id("<|endoftext|>"), tokens.id("<|eot_id|>")]
    return {
        "maskId": tokens.id("<|mdm_mask|>"),
        "stopIds": stops,
        "suppressedIds": tokens.no_prose(stops),
        "maxPositions": checkpoint.setting("max_position_embeddings") - (FEATURES - 1),
        "prefix": TEMPLATE,
        "instruction": {"text": chat.INSTRUCTION["text"]},
        "condition": {"input": "image_features", "from": "onnx/vision_model.onnx", "output": "image_features"},
        "defaults": chat.DEFAULTS | {"blockLength": 32},
    }


def features(width: int) -> list[Input]:
    """Small whole numbers, which take little room in the cases of parity."""
    drawn = torch.randint(-1, 2, (1, FEATURES, width), generator=torch.Generator().manual_seed(5))
    return [Input("image_features", drawn.float(), {0: "states"})]


def export(checkpoint: Checkpoint, out: Path, options: Options) -> None:
    image = image_id(checkpoint)
    dllm = Dllm(
        build=lambda: network(checkpoint, image),
        manifest=lambda tokens: manifest(checkpoint, tokens),
        licence="Apache-2.0",
        inputs=lambda positions: features(checkpoint.setting("hidden_size")),
        added={IMAGE: image},
    )
    write_vision(lambda: vision(checkpoint), SIDE, out / "onnx" / "vision_model.onnx", "image_features", options.dtype)
    export_dllm(dllm, checkpoint, out, options.dtype)
    write_json(out / "preprocessor_config.json", PREPROCESSOR)


FAMILY = Family("llada-v", lambda checkpoint: checkpoint.config.get("model_type") == "llava_llada", export)
