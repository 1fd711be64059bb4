"""
Makes a CLIP and exports it in each of some types, as the command does, and for pictures of another side where one is
given; then prints as JSON what came of it: the folders, and what the first of them is off by.

    python make_clips.py <model> <folder> <side or 0> <type>...     writes <folder>/<type>

    { folders, difference: { text, image }, ids: whether the tokenizer gives the library's own }
"""

import contextlib
import json
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from clips import MODELS, TEXTS, Model
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


def off_by(found: np.ndarray, expected: torch.Tensor) -> float:
    unit = expected / expected.norm(dim=-1, keepdim=True)
    return float(np.abs(found - unit.numpy()).max())


def main() -> None:
    name, folder, side, dtypes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    logging.disable(logging.WARNING)
    checkpoint = folder / name
    checkpoint.mkdir(parents=True)
    model = MODELS[name](checkpoint, side or None)
    asked = ["--image-size", str(side)] if side else []
    with contextlib.redirect_stdout(sys.stderr):
        for dtype in dtypes:
            run(arguments().parse_args([str(checkpoint), str(folder / dtype), "--dtype", dtype, *asked]))
    shutil.rmtree(checkpoint)
    first = folder / dtypes[0]
    sessions = {
        tower: onnxruntime.InferenceSession(str(first / "onnx" / f"{tower}_model.onnx")) for tower in ("text", "vision")
    }
    padded = isinstance(sessions["text"].get_inputs()[0].shape[1], int)
    rows, same = rows_of(first, padded, model)
    pixels = torch.randn(3, 3, model.side, model.side, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        texts, images = model.texts(model.ids(TEXTS)), model.images(pixels)
    text = [sessions["text"].run(None, {"input_ids": np.array([row])})[0][0] for row in rows]
    (image,) = sessions["vision"].run(None, {"pixel_values": pixels.numpy()})
    difference = {"text": off_by(np.stack(text), texts), "image": off_by(image, images)}
    print(json.dumps({"folders": [str(folder / dtype) for dtype in dtypes], "difference": difference, "ids": same}))


if __name__ == "__main__":
    main()
