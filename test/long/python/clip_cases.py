"""CLIPs of random weights as published ones are: the architecture at its own width, two layers deep, and how texts and pictures go in."""

import copy
import json
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import get_clean_fn
from open_clip.transform import PreprocessCfg, image_transform_v2
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from clip_tokenizers import clip_tokenizer, gemma_tokenizer, t5_from, t5_tokenizer

LAYERS = 2


def randomise(model, seed):
    """Weights large enough that embeddings differ as inputs do: at their usual start all texts are nearly the same."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim < 2 and "embedding" not in name:  # gains and offsets
                weights.copy_(torch.full_like(weights, 1.0 if name.endswith("weight") else 0.0))
                continue
            fan_in = 1 if "embed" in name and weights.ndim <= 2 else weights[0].numel()
            weights.copy_(torch.randn(weights.shape, generator=generator) * fan_in**-0.5)
    return model.eval()


class Case:
    """A model, with `text(input_ids, attention_mask or None)` and `image(pixels)` giving embeddings."""

    def ids(self, text):
        """Ids and mask of a text, as the model's own tokenizer pads it."""
        raise NotImplementedError

    def pixels(self, picture):
        raise NotImplementedError

    def embed_text(self, text):
        return self.text(*self.ids(text))[0].double()

    def embed_image(self, picture):
        return self.image(self.pixels(picture))[0].double()


class HuggingFaceCase(Case):
    """One of transformers, with its `tokenizer` and `processor`."""

    def pixels(self, picture):
        return self.processor(picture, return_tensors="pt").pixel_values

    def save(self, folder):
        self.model.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.processor.save_pretrained(folder)


class HuggingFaceClip(HuggingFaceCase):
    def __init__(self, folder=None):
        config = CLIPConfig(
            text_config={"num_hidden_layers": LAYERS, "bos_token_id": 49406, "eos_token_id": 49407},
            vision_config={"num_hidden_layers": LAYERS, "patch_size": 32},
        )
        self.model = randomise(CLIPModel(config), 1)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder) if folder else clip_tokenizer()
        self.processor = CLIPImageProcessorPil()

    def text(self, input_ids, attention_mask=None):
        pooled = self.model.text_model(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        return self.model.text_projection(pooled)

    def image(self, pixels):
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

    def ids(self, text):
        row = self.tokenizer([text], padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        return row.input_ids, row.attention_mask


class HuggingFaceSiglip(HuggingFaceCase):
    """`kind` 1 or 2: its tokenizer, and how its pictures are resized."""

    def __init__(self, kind, folder=None):
        self.kind = kind
        vocab = 3000
        config = SiglipConfig(
            text_config={"num_hidden_layers": LAYERS, "vocab_size": vocab},
            vision_config={"num_hidden_layers": LAYERS, "patch_size": 16},
        )
        self.model = randomise(SiglipModel(config), 2 + kind)
        self.overrides = {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True} if kind == 1 else {}
        if kind == 1:
            self.tokenizer = t5_from(folder) if folder else t5_tokenizer(canonicalises=True)
        else:
            self.tokenizer = Siglip2Tokenizer.from_pretrained(folder) if folder else gemma_tokenizer()
        self.processor = SiglipImageProcessorPil(resample=3 if kind == 1 else 2)

    def text(self, input_ids, attention_mask=None):
        return self.model.text_model(input_ids=input_ids).pooler_output

    def image(self, pixels):
        return self.model.vision_model(pixel_values=pixels).pooler_output

    def ids(self, text):
        row = self.tokenizer([text], padding="max_length", truncation=True, max_length=64, return_tensors="pt")
        return row.input_ids, None
        override(folder / "tokenizer_config.json", self.overrides)
        if self.kind == 2:  # as configs are that leave out what is so by default
            override(folder / "config.json", {"text_config": {"model_type": "siglip_text_model"}})


def override(file, fields):
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}, indent=1))


class OpenClip(Case):
    """One of open_clip's configs, as immich exports it."""

    def __init__(self, name, seed, folder=None, resize_mode="shortest", interpolation="bicubic"):
        self.config = copy.deepcopy(open_clip.get_model_config(name))
        self.config["text_cfg"]["layers"] = LAYERS
        text_cfg, vision_cfg = self.config["text_cfg"], self.config["vision_cfg"]
        self.is_siglip = "timm_model_name" in vision_cfg
        if self.is_siglip:
            text_cfg["vocab_size"] = 3000
        else:
            vision_cfg["layers"] = LAYERS
        built = {key: value for key, value in self.config.items() if key not in ("custom_text",)}
        made = (open_clip.CustomTextCLIP if self.is_siglip else open_clip.CLIP)(**built)
        if self.is_siglip:
            made.visual.trunk.blocks = made.visual.trunk.blocks[:LAYERS]
        self.model = randomise(made, seed)
        half = (0.5, 0.5, 0.5)
        self.preprocess = PreprocessCfg(
            size=vision_cfg["image_size"],
            resize_mode=resize_mode,
            interpolation=interpolation,
            **({"mean": half, "std": half} if self.is_siglip else {}),
        )
        self.transform = image_transform_v2(self.preprocess, is_train=False)
        self.width = text_cfg.get("context_length", 77)
        self.overrides = {"tokenizer_class": "T5Tokenizer"} if self.is_siglip else {}
        if not self.is_siglip:
            self.tokenizer = clip_tokenizer()
        else:
            self.tokenizer = t5_from(folder / "textual") if folder else t5_tokenizer(canonicalises=False)

    def text(self, input_ids, attention_mask=None):
        return self.model.encode_text(input_ids, normalize=True)

    def image(self, pixels):
        return self.model.encode_image(pixels, normalize=True)

    def ids(self, text):
        if not self.is_siglip:
            return open_clip.SimpleTokenizer(context_length=self.width)([text]), None
        cleaned = get_clean_fn(self.config["text_cfg"]["tokenizer_kwargs"]["clean"])(text)
        row = self.tokenizer([cleaned], padding="max_length", truncation=True, max_length=self.width, return_tensors="pt")
        return row.input_ids, None

    def pixels(self, picture):
        return self.transform(picture)[None]

    def save(self, folder):
        (folder / "visual").mkdir()
        (folder / "textual").mkdir()
        (folder / "config.json").write_text(json.dumps(self.config, indent=1))
        (folder / "visual" / "preprocess_cfg.json").write_text(json.dumps(self.preprocess.__dict__, indent=1))
        self.tokenizer.save_pretrained(folder / "textual")
        override(folder / "textual" / "tokenizer_config.json", self.overrides)


# Of each case a function: without a folder the model and its tokenizer are made, with one the tokenizer is the one that lies there.
CASES = {
    "clip-vit-base-patch32": HuggingFaceClip,
    "siglip-base-patch16-224": lambda folder=None: HuggingFaceSiglip(1, folder),
    "siglip2-base-patch16-224": lambda folder=None: HuggingFaceSiglip(2, folder),
    "ViT-B-32__laion2b-s34b-b79k": lambda folder=None: OpenClip("ViT-B-32", 5, folder),
    "ViT-H-14__laion2b-s32b-b79k": lambda folder=None: OpenClip("ViT-H-14", 6, folder, interpolation="bilinear"),
    "ViT-B-16-SigLIP__webli": lambda folder=None: OpenClip("ViT-B-16-SigLIP", 7, folder, resize_mode="squash"),
    "ViT-B-32-longest": lambda folder=None: OpenClip("ViT-B-32", 5, folder, resize_mode="longest"),
}
