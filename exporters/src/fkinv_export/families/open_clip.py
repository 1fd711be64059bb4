"""
open_clip's own CLIPs: ViT-H-14, ViT-g-14, ViT-bigG-14 and others of a plain vision transformer and a plain text tower,
as laion/CLIP-ViT-H-14-laion2B-s32B-b79K is saved.

Names, wiring and settings: mlfoundations/open_clip (github.com), src/open_clip/model.py, transformer.py, tokenizer.py
and model_configs. It is transformers' CLIP under other names, and is computed by it: attention has one weight for
queries, keys and values, and projections are kept turned. A text's padding is behind its end token and is not seen.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, normalizers
from torch import nn
from transformers import CLIPConfig, CLIPTokenizer

from ..checkpoint import OPEN_CLIP, Checkpoint
from ..errors import ExportError
from ..tokens import Tokens
from ..towers import Clip, export_clip
from . import Family, Options
from .clip import empty, is_open_clip, side_of, sized, towers

OUTSIDE = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "visual_projection.weight": "visual.proj",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_projection.weight": "text_projection",
    "logit_scale": "logit_scale",
}
NORMS = {
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.final_layer_norm": "ln_final",
}
INSIDE = {
    "layer_norm1": "ln_1.",
    "layer_norm2": "ln_2.",
    "self_attn.q_proj": "attn.in_proj_",
    "self_attn.k_proj": "attn.in_proj_",
    "self_attn.v_proj": "attn.in_proj_",
    "self_attn.out_proj": "attn.out_proj.",
    "mlp.fc1": "mlp.c_fc.",
    "mlp.fc2": "mlp.c_proj.",
}
"""What a block calls what a layer of transformers calls so."""

MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
VISION = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "patch_dropout"}
TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
"""Settings that are known here: with another one it is another network."""


def name_of(parameter: str) -> str:
    """What open_clip calls a parameter of transformers' CLIP."""
    if parameter in OUTSIDE:
        return OUTSIDE[parameter]
    owner, kind = parameter.rsplit(".", 1)
    if owner in NORMS:
        return f"{NORMS[owner]}.{kind}"
    tower, _, _, layer, inside = owner.split(".", 4)
    blocks = "visual.transformer.resblocks" if tower == "vision_model" else "transformer.resblocks"
    return f"{blocks}.{layer}.{INSIDE[inside]}{kind}"


def changed(parameter: str, weight: torch.Tensor) -> torch.Tensor:
    owner = parameter.rsplit(".", 1)[0]
    if owner in ("visual_projection", "text_projection"):
        return weight.T.contiguous()
    for part, name in enumerate(("q_proj", "k_proj", "v_proj")):
        if owner.endswith(name):
            return weight.chunk(3)[part].clone()
    return weight


def clip_config(checkpoint: Checkpoint) -> CLIPConfig:
    file = checkpoint.file(OPEN_CLIP)
    model = checkpoint.json(OPEN_CLIP).get("model_cfg", {})
    vision, text = dict(model.get("vision_cfg", {})), dict(model.get("text_cfg", {}))
    unknown = {*(set(vision) - VISION), *(set(text) - TEXT), *(set(model) - MODEL)}
    if unknown:
        raise ExportError(f"{file}: {min(unknown)} makes another network than the ones that this exporter knows")
    try:
        side = vision["image_size"]
        common: dict[str, Any] = {"hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu"}
        return CLIPConfig(
            projection_dim=model["embed_dim"],
            vision_config=common
            | sizes_of(vision, vision["width"] // vision.get("head_width", 64))
            | {"image_size": side, "patch_size": vision["patch_size"], "projection_dim": model["embed_dim"]},
            text_config=common
            | sizes_of(text, text["heads"])
            | {
                "vocab_size": text["vocab_size"],
                "max_position_embeddings": text["context_length"],
                "projection_dim": model["embed_dim"],
                "bos_token_id": text["vocab_size"] - 2,
                "eos_token_id": text["vocab_size"] - 1,
            },
        )
    except KeyError as error:
        raise ExportError(f"{file}: {error.args[0]} is missing") from error


def sizes_of(tower: dict[str, Any], heads: int) -> dict[str, Any]:
    return {
        "hidden_size": tower["width"],
        "intermediate_size": int(tower["width"] * tower.get("mlp_ratio", 4.0)),
        "num_hidden_layers": tower["layers"],
        "num_attention_heads": heads,
        "layer_norm_eps": 1e-5,
    }


def write_tokenizer(checkpoint: Checkpoint, out: Path, width: int) -> Tokens:
    """CLIP's tokenizer with open_clip's ids, and what open_clip does to a text before them."""
    merges = merges_of(checkpoint)
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in shown] + [chr(256 + i) for i in range(256 - len(shown))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges)]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    made = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=width)
    # ftfy's straight quotation marks and written-out ligatures; spaces around a text are none of its pieces.
    replaced = {
        "[\u02bc\u2018-\u201b]": "'",
        "[\u201c-\u201f]": '"',
        "ﬀ": "ff",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "ﬃ": "ffi",
        "ﬄ": "ffl",
    }
    made.backend_tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            *(normalizers.Replace(Regex(old), new) for old, new in replaced.items()),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Lowercase(),
        ]
    )
    made.save_pretrained(out)
    return Tokens(out)


def merges_of(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """The merges of CLIP's vocabulary: the checkpoint's own, as most have them, or those that open_clip carries."""
    if checkpoint.has("merges.txt"):
        lines = checkpoint.file("merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    else:
        package = find_spec("open_clip")
        if package is None or package.origin is None:
            raise ExportError(f"{checkpoint.path} has no merges.txt: install open_clip_torch, which carries CLIP's")
        packed = Path(package.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
        lines = gzip.decompress(packed.read_bytes()).decode("utf-8").split("\n")[1:]
    # The file has more merges than the vocabulary has room for.
    merges = [tuple(line.split()) for line in lines[: 49152 - 256 - 2]]
    return [(first, second) for first, second in merges]


def export(checkpoint: Checkpoint, out: Path, options: Options) -> None:
    config = clip_config(checkpoint)
    side = side_of(config, options)

    def build() -> nn.Module:
        network = empty(config)
        names = {name: name_of(name) for name, _ in network.named_parameters()}
        checkpoint.load_into(network, names, ["attn_mask"], "open_clip_model.safetensors", changed)
        return sized(network, side)

    vision, text = towers(build)
    width = config.text_config.max_position_embeddings
    prepared = checkpoint.json(OPEN_CLIP).get("preprocess_cfg", {})
    clip = Clip(
        vision,
        text,
        side,
        width,
        padded=False,
        tokenizer=lambda: write_tokenizer(checkpoint, out, width),
        config={
            "model_type": "clip",
            "projection_dim": config.projection_dim,
            "text_config": {"max_position_embeddings": width},
            "vision_config": {"image_size": side, "patch_size": config.vision_config.patch_size},
        },
        preprocessor=PREPARED | prepared | {"size": side},
        licence="MIT",
    )
    export_clip(clip, checkpoint, out, options.dtype)


PREPARED = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
"""In open_clip's own words, which fkinv reads as open_clip does: transformers places a crop half a pixel elsewhere."""

FAMILY = Family("open-clip", is_open_clip, export, takes_image_size=True)
