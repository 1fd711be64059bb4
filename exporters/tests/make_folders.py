"""
Makes a checkpoint of a family, exports it in each of some types as the command does, and prints what came of it.

    python make_folders.py <family> <folder> <type>...     writes <folder>/<the checkpoint's name> and <folder>/<type>
"""

import contextlib
import json
import logging
import sys
from pathlib import Path

import plain
import plain_more
from checkpoints import FAMILIES
from checkpoints_more import llada_v, mdlm

from fkinv_export.cli import arguments, run

NAMES = {
    "llada": "LLaDA-8B-Instruct",
    "dream": "Dream-v0-Instruct-7B",
    "qwen3-mdlm": "Qwen3-0.6B-diffusion-mdlm-v0.1",
    "qwen3-bd3lm": "Qwen3-0.6B-diffusion-bd3lm-v0.1",
    "mdlm": "mdlm-owt",
    "llada-v": "LLaDA-V",
}
"""The authors' own, which tell Qwen3's two apart."""

MORE = {"mdlm": mdlm, "llada-v": llada_v}


def main() -> None:
    family, folder, dtypes = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    logging.disable(logging.WARNING)
    checkpoint = folder / NAMES[family]
    checkpoint.mkdir(parents=True)
    (FAMILIES | MORE)[family](checkpoint)
    with contextlib.redirect_stdout(sys.stderr):
        for dtype in dtypes:
            run(arguments().parse_args([str(checkpoint), str(folder / dtype), "--dtype", dtype]))
    made = {"folders": [str(folder / dtype) for dtype in dtypes]}
    if "fp32" in dtypes:
        made["difference"] = (plain_more if family in MORE else plain).difference(family, checkpoint, folder / "fp32")
    print(json.dumps(made))


if __name__ == "__main__":
    main()
