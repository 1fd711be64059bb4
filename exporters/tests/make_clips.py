"""
Makes CLIPs and exports each in some types, as the command does, and for pictures of another side where one is given;
then prints as JSON what came of it, a CLIP a line.

    python make_clips.py <folder> <picture> <model>[@<side>]=<type>,……     writes <folder>/<model>/<type>

    { name, folders, ids, difference, texts, text_embeds, image_embeds }

`ids` tells whether the tokenizer of the first folder gives the library's own, `difference` what its graphs are off by,
and the embeddings are those that the library gives for `texts` and the picture.
"""

import contextlib
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from clips import MODELS, TEXTS, Model
from PIL import Image
from transformers import PreTrainedTokenizerFast

from fkinv_export.cli import arguments, run


def rows_of(folder: Path, padded: bool, model: Model) -> tuple[list[list[int]], bool]:
    """
    The ids of each text as the folder's graph takes them, and whether they are those of the library: it pads all to one
    width, with what is not looked at.
    """
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    own = model.ids(TEXTS).tolist()
    if padded:
        return own, True
    rows, same = [], True
    for text, expected in zip(TEXTS, own, strict=True):
        ids = tokenizer.encode(text)
        if len(ids) > len(expected):
            ids = [*ids[: len(expected) - 1], ids[-1]]
        same = same and ids == expected[: len(ids)]
        rows.append(ids)
    return rows, same


def held(folder: Path, model: Model, picture: Image.Image) -> dict[str, Any]:
    """The graphs of a folder held to the library."""
    graphs = {
        tower: onnxruntime.InferenceSession(str(folder / "onnx" / f"{tower}_model.onnx"))
        for tower in ("text", "vision")
    }
    rows, same = rows_of(folder, isinstance(graphs["text"].get_inputs()[0].shape[1], int), model)
    noise = torch.randn(2, 3, model.side, model.side, generator=torch.Generator().manual_seed(9))
    pixels = torch.cat([model.pixels(picture), noise])
    with torch.no_grad():
        texts, images = unit(model.texts(model.ids(TEXTS))), unit(model.images(pixels))
    text = np.stack([graphs["text"].run(None, {"input_ids": np.array([row])})[0][0] for row in rows])
    (image,) = graphs["vision"].run(None, {"pixel_values": pixels.numpy()})
    difference = max(float(np.abs(text - texts).max()), float(np.abs(image - images).max()))
    embeddings = {"text_embeds": texts.tolist(), "image_embeds": images[0].tolist()}
    return {"difference": difference, "ids": same, "texts": TEXTS} | embeddings


def unit(embeddings: torch.Tensor) -> np.ndarray:
    return (embeddings / embeddings.norm(dim=-1, keepdim=True)).numpy()


def main() -> None:
    folder, picture, asked = Path(sys.argv[1]), Image.open(sys.argv[2]).convert("RGB"), sys.argv[3:]
    logging.disable(logging.WARNING)
    for one in asked:
        model_and_side, types = one.split("=")
        name, _, side = model_and_side.partition("@")
        checkpoint = folder / name / name
        checkpoint.mkdir(parents=True)
        model = MODELS[name](checkpoint, int(side) if side else None)
        folders = [folder / name / dtype for dtype in types.split(",")]
        with contextlib.redirect_stdout(sys.stderr):
            for out in folders:
                options = ["--dtype", out.name, *(["--image-size", side] if side else [])]
                run(arguments().parse_args([str(checkpoint), str(out), *options]))
        made = {"name": name, "folders": [str(out) for out in folders]} | held(folders[0], model, picture)
        shutil.rmtree(checkpoint)
        print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
