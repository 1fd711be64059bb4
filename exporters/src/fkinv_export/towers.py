"""A CLIP's folder: both towers, tokenizer, configs, and parity at texts of two lengths."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from . import parity, quantise
from .checkpoint import Checkpoint
from .folder import copy_licence, write_json
from .graph import Input, release
from .tokens import Tokens, text_of
from .typed import WEIGHT_TYPES, write_typed

TEXTS = ("a cat", "an old photo of a small red house in the street under a dark blue sky with a tree beside it")
"""Of the cases of parity: small letters and single spaces alone, which cleaning leaves as they are."""

GRAPHS = Path("onnx")


class Tower(nn.Module):
    """Gives embeddings of unit length of its forward's one input; `reference` gives them in the model's own way."""

    def reference(self, given: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


@dataclass
class Clip:
    """What a family says of one of its checkpoints. Each network is made anew with its weights, in float32."""

    vision: Callable[[], Tower]
    text: Callable[[], Tower]
    """Its `table` (nn.Embedding) is the tokens'."""
    side: int
    """Of a picture, in pixels."""
    width: int
    """The most tokens of a text."""
    padded: bool
    """Whether all texts are padded to it."""
    tokenizer: Callable[[], Tokens]
    """Writes tokenizer.json and tokenizer_config.json."""
    config: dict[str, Any]
    preprocessor: dict[str, Any]
    licence: str | None
    """Where the model card names none."""


def export_clip(clip: Clip, checkpoint: Checkpoint, out: Path, dtype: str) -> None:
    """Writes the folder `out`, and holds both graphs to the PyTorch model."""
    tokens = clip.tokenizer()
    write_json(out / "config.json", clip.config)
    write_json(out / "preprocessor_config.json", clip.preprocessor)
    write_vision(clip.vision, clip.side, out / GRAPHS / "vision_model.onnx", "image_embeds", dtype)
    cases = write_text(clip, tokens, out / GRAPHS / "text_model.onnx", dtype)
    write_json(out / "parity.json", cases, indent=None)  # long lists of numbers
    licence = checkpoint.licence or clip.licence
    manifest = {"weightType": WEIGHT_TYPES[dtype], "licence": licence, "parity": "parity.json"}
    write_json(out / "fkinv.json", {key: value for key, value in manifest.items() if value is not None})
    copy_licence(checkpoint, out)


def write_vision(build: Callable[[], Any], side: int, graph: Path, output: str, dtype: str) -> None:
    """Writes the graph of a network that takes `pixel_values` [images, 3, side, side], and holds it to the network."""
    print(f"writing {graph.name} in {dtype}", flush=True)
    # An int8 graph has one scale for all of a run.
    pictures = torch.randn(1 if dtype == "int8" else 2, 3, side, side, generator=torch.Generator().manual_seed(1))
    given = Input("pixel_values", pictures, {0: "images"})
    network = write_typed(build, [given], output, graph, dtype)
    expected, tolerance = expect_of(network, pictures, dtype)
    release(network)
    (found,) = parity.session(graph).run([output], {"pixel_values": pictures.numpy()})
    parity.expect("of pictures", float(np.abs(found - expected).max()), tolerance)


def write_text(clip: Clip, tokens: Tokens, graph: Path, dtype: str) -> list[dict[str, Any]]:
    """Writes the graph of the text tower and holds it to the network; returns the cases that it was held to."""
    print(f"writing {graph.name} in {dtype}", flush=True)
    axes = {0: "texts"} if clip.padded else {0: "texts", 1: "width"}
    traced = torch.arange(2 * (clip.width if clip.padded else 11)).reshape(2, -1) % 7
    network = write_typed(clip.text, [Input("input_ids", traced, axes)], "text_embeds", graph, dtype, halve_table)
    rows = [torch.tensor([row_of(clip, tokens, text)]) for text in TEXTS]
    expected = [expect_of(network, row, dtype) for row in rows]
    release(network)
    session = parity.session(graph)
    cases = []
    for text, row, (embedding, tolerance) in zip(TEXTS, rows, expected, strict=True):
        (found,) = session.run(["text_embeds"], {"input_ids": row.numpy()})
        parity.expect(f"of a text of {row.shape[1]} tokens", float(np.abs(found - embedding).max()), tolerance)
        numbers = parity.to_digits(embedding[0])
        cases.append({"text": text, "text_embeds": numbers, "tolerance": float(f"{tolerance:.3g}")})
    return cases


def expect_of(network: Any, given: torch.Tensor, dtype: str) -> tuple[np.ndarray, float]:
    """What a graph should give, and by how much it may be off: dllm.expected() says why int8 is another matter."""
    with torch.no_grad():
        expected = network.reference(given)
        if dtype != "int8":
            return expected.numpy(), parity.tolerance(dtype, expected.numpy())
        with quantise.rounded_activations(network):
            rounded = network.reference(given)
    return rounded.numpy(), 2 * float((rounded - expected).abs().max())


def halve_table(tower: Any) -> None:
    """Gives the tokens their table in float16: it is looked up and not multiplied, so it is not quantised."""
    tower.table.weight = nn.Parameter(tower.table.weight.half(), requires_grad=False)


def row_of(clip: Clip, tokens: Tokens, text: str) -> list[int]:
    """The ids of a text as fkinv makes them (lib/models/clip.ts)."""
    ids = list(tokens.fast.encode(text, add_special_tokens=True))
    if len(ids) > clip.width:  # the token that ends every text stays
        ids = [*ids[: clip.width - 1], ids[-1]]
    if not clip.padded:
        return ids
    padding = [tokens.id(text_of(tokens.config["pad_token"]))] * (clip.width - len(ids))
    return padding + ids if tokens.config["padding_side"] == "left" else ids + padding


def unit(embeddings: torch.Tensor) -> torch.Tensor:
    embeddings = embeddings.float()
    return embeddings / embeddings.norm(dim=-1, keepdim=True)


def resize(vision: Any, side: int, own: int) -> None:
    """
    Makes the vision model of a CLIP or a SigLIP of transformers one for pictures of `side` pixels: the grid of position
    embeddings is interpolated, bicubic with antialiasing, as open_clip does it (mlfoundations/open_clip, model.py,
    resize_pos_embed).
    """
    embeddings = vision.embeddings
    table, grid = embeddings.position_embedding.weight.detach(), side // embeddings.patch_size
    first, old = len(table) - embeddings.num_patches, own // embeddings.patch_size
    cells = table[first:].T.reshape(1, -1, old, old)
    made = interpolate(cells, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    table = torch.cat([table[:first], made.reshape(table.shape[1], -1).T])
    embeddings.position_embedding = nn.Embedding.from_pretrained(table)
    embeddings.image_size, embeddings.num_patches = side, grid * grid
    count_positions(embeddings)


def count_positions(embeddings: Any) -> None:
    """The buffer that a network made on the meta device lacks."""
    embeddings.position_ids = torch.arange(len(embeddings.position_embedding.weight)).unsqueeze(0)


def resized(preprocessor: dict[str, Any], side: int) -> dict[str, Any]:
    """A preprocessor_config.json for pictures of `side` pixels, with sizes in the same form."""
    made = json.loads(json.dumps(preprocessor))
    for key in ("size", "crop_size"):
        if isinstance(made.get(key), dict):
            made[key] = dict.fromkeys(made[key], side)
        elif key in made:
            made[key] = side
    return made
