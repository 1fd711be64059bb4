"""
CLIPs with random weights, as their authors save them: small, with the true vocabulary where there is one to be had, and
what they give in the libraries that they come from.
"""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from checkpoints import random_weights
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

TEXTS = [
    "a cat",
    "  A Café in São Paulo,\tdéjà vu: naïve façade! ",
    "½ pint “quoted” it’s snake_case & more ﬁne 2024",
    "🐱 a cat 👩‍👩‍👧 emoji ☕️ family",
    "word " * 90,
    "日本語の写真 e\u0301 composed",
    "",
]


@dataclass
class Model:
    """A model in its own library. `texts` are ids as that library makes them, all of one width."""

    side: int
    ids: Callable[[list[str]], torch.Tensor]
    texts: Callable[[torch.Tensor], torch.Tensor]
    images: Callable[[torch.Tensor], torch.Tensor]
    pixels: Callable[[Image.Image], torch.Tensor]
    """[1, 3, side, side] of a picture, as that library makes them."""


def draw(model: torch.nn.Module) -> None:
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters() if value.dim() > 0}
    drawn = random_weights(shapes)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name in drawn:
                value.copy_(drawn[name])
    model.eval()


def clip_tokenizer() -> CLIPTokenizer:
    """openai/clip-vit-base-patch32's, of the merges that open_clip carries."""
    own = open_clip.SimpleTokenizer()
    packed = Path(open_clip.tokenizer.default_bpe()).read_bytes()
    merges = gzip.decompress(packed).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): id for token, id in own.encoder.items()}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(one.split()) for one in merges], model_max_length=77)


def clip(folder: Path, side: int | None) -> Model:
    """As openai/clip-vit-base-patch32: a config whose end token is a wrong one, buffers among the weights."""
    size = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_hidden_layers": 2}
    text = size | {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 2, "bos_token_id": 0}
    config = CLIPConfig(text_config=text, vision_config=size | {"image_size": 64, "patch_size": 16}, projection_dim=48)
    model = CLIPModel(config)
    draw(model)
    tokenizer = clip_tokenizer()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    buffers = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(model.state_dict() | buffers, str(folder / "model.safetensors"), {"format": "pt"})
    write_preprocessor(
        folder, {"shortest_edge": 64}, {"do_center_crop": True, "crop_size": {"height": 64, "width": 64}}
    )

    def ids(texts: list[str]) -> torch.Tensor:
        return tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids

    return Model(
        64,
        ids,
        lambda ids: model.get_text_features(ids).pooler_output,
        lambda pixels: model.get_image_features(pixels).pooler_output,
        lambda picture: CLIPImageProcessorPil.from_pretrained(folder)(picture, return_tensors="pt").pixel_values,
    )


def siglip(folder: Path, side: int | None) -> Model:
    """As google/siglip-base-patch16-224: T5's kind of tokenizer, cleaning in the class and not in its file."""
    size = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_hidden_layers": 2}
    text = size | {"vocab_size": 300, "max_position_embeddings": 64, "projection_size": 64}
    config = SiglipConfig(text_config=text, vision_config=size | {"image_size": 64, "patch_size": 16})
    model = SiglipModel(config)
    draw(model)
    model.save_pretrained(folder)
    write_preprocessor(folder, {"height": 64, "width": 64}, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["▁a", "▁cat", "▁photo", "▁of", "▁the", "▁", *letters]
    tokenizer = Tokenizer(
        Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((p, -2.0) for p in pieces)], unk_id=2)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special)
    fast.save_pretrained(folder)
    named = {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True, "added_tokens_decoder": {}}
    edit(folder / "tokenizer_config.json", named)

    def ids(texts: list[str]) -> torch.Tensor:
        clean = [re.sub(r"\s+", " ", re.sub(r"[!-/:-@\[-`{-~]", "", text.lower())).strip() for text in texts]
        return fast(clean, padding="max_length", truncation=True, max_length=64, return_tensors="pt").input_ids

    return Model(
        64,
        ids,
        lambda ids: model.get_text_features(ids).pooler_output,
        lambda pixels: model.get_image_features(pixels).pooler_output,
        lambda picture: SiglipImageProcessorPil.from_pretrained(folder)(picture, return_tensors="pt").pixel_values,
    )


def open_clip_of(vision: dict[str, Any], text: dict[str, Any], embed: int) -> Callable[[Path, int | None], Model]:
    """As laion's: open_clip_config.json and open_clip_model.safetensors, of true width per head and ratio."""

    def make(folder: Path, side: int | None) -> Model:
        vision_cfg = {"image_size": 56, "layers": 2, "patch_size": 14} | vision
        text_cfg = {"context_length": 77, "vocab_size": 49408, "layers": 2} | text
        model = open_clip.CLIP(embed, open_clip.CLIPVisionCfg(**vision_cfg), open_clip.CLIPTextCfg(**text_cfg))
        draw(model)
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(weights, str(folder / "open_clip_model.safetensors"))
        means = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
        model_cfg = {"embed_dim": embed, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
        write(folder / "open_clip_config.json", {"model_cfg": model_cfg, "preprocess_cfg": means})
        (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
        if side is not None:  # open_clip's own way to take larger pictures
            vision_cfg = vision_cfg | {"image_size": side}
            larger = open_clip.CLIP(embed, open_clip.CLIPVisionCfg(**vision_cfg), open_clip.CLIPTextCfg(**text_cfg))
            open_clip.load_checkpoint(larger, str(folder / "open_clip_model.safetensors"))
            model = larger.eval()
        prepare = image_transform_v2(PreprocessCfg(size=side or 56, **means), is_train=False)
        return Model(
            side or 56,
            open_clip.SimpleTokenizer(),
            model.encode_text,
            model.encode_image,
            lambda picture: prepare(picture)[None],
        )

    return make


MODELS: dict[str, Callable[[Path, int | None], Model]] = {
    "clip-vit-base-patch32": clip,
    "siglip-base-patch16-224": siglip,
    "CLIP-ViT-H-14-laion2B-s32B-b79K": open_clip_of({"width": 160, "head_width": 80}, {"width": 128, "heads": 2}, 64),
    "CLIP-ViT-g-14-laion2B-s34B-b88K": open_clip_of(
        {"width": 176, "head_width": 88, "mlp_ratio": 4.3637}, {"width": 128, "heads": 2}, 64
    ),
    "CLIP-ViT-bigG-14-laion2B-39B-b160k": open_clip_of(
        {"width": 208, "head_width": 104, "mlp_ratio": 4.9231}, {"width": 128, "heads": 2}, 80
    ),
}


def write_preprocessor(folder: Path, size: dict[str, int], more: dict[str, Any]) -> None:
    means = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    common = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 3, "rescale_factor": 1 / 255}
    write(folder / "preprocessor_config.json", common | means | {"size": size} | more)


def write(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")


def edit(file: Path, more: dict[str, Any]) -> None:
    write(file, json.loads(file.read_text(encoding="utf-8")) | more)
