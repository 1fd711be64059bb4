"""
Models of the public sizes with random weights, for `npm run bench:true-sizes`: a CLIP ViT-B/32 of full depth, and a masked
diffusion model of Qwen3-0.6B's shape and a tokenizer as large as its own in float32, float16 and 4 bits.

    python bench/true-sizes.py <folder>

It takes the Python of the long tests (test/long/python/requirements.txt), 11 GB of disk and 9 GB of memory.
"""

import json
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "exporters" / "src"), str(ROOT / "exporters" / "tests")]

import checkpoints  # noqa: E402
import clips  # noqa: E402
from transformers import CLIPConfig, CLIPModel  # noqa: E402

from fkinv_export.cli import arguments, run  # noqa: E402

TEXT_IDS = 151643
"""Ids of Qwen3's tokenizer before its special tokens."""


def qwen3(folder: Path) -> None:
    """The checkpoint of the exporters' tests, 28 layers deep and 1024 wide."""
    checkpoints.WIDTH, checkpoints.HEADS, checkpoints.GROUPS = 1024, 16, 8
    checkpoints.DEPTH, checkpoints.INNER = 28, 3072
    sizes = {"hidden_size": 1024, "intermediate_size": 3072, "max_window_layers": 28, "num_hidden_layers": 28}
    checkpoints.QWEN_CONFIG |= sizes | {"num_attention_heads": 16, "num_key_value_heads": 8}
    shapes, save = checkpoints.qwen_shapes, checkpoints.save
    checkpoints.qwen_shapes = lambda vocabulary, head, **others: shapes(vocabulary, head=128, **others)
    checkpoints.save = lambda folder, weights, config, **others: save(folder, weights, config | {"head_dim": 128}, **others)
    checkpoints.qwen3_mdlm(folder)
    fill(folder / "tokenizer.json")


def fill(file: Path) -> None:
    """Gives a tokenizer as many tokens as Qwen3's has, each made of two that it had before."""
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    vocabulary, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    used = set(vocabulary.values())
    letters = [token for token in vocabulary if len(token) == 1 and token.isascii() and token.isalpha()]
    beginnings = [*letters, "Ġ"]
    draw = random.Random(1)
    for id in range(TEXT_IDS):
        while id not in used:
            pair = [draw.choice(beginnings), draw.choice(letters)]
            token = "".join(pair)
            if token in vocabulary or len(token) > 12:
                continue
            vocabulary[token] = id
            merges.append(pair)
            beginnings.append(token)
            break
    file.write_text(json.dumps(tokenizer), encoding="utf-8")


def clip(folder: Path) -> None:
    """As openai/clip-vit-base-patch32 is saved, whose sizes are the defaults of its config."""
    model = CLIPModel(CLIPConfig())
    clips.draw(model)
    model.save_pretrained(folder)
    clips.clip_tokenizer().save_pretrained(folder)
    crop = {"do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
    clips.write_preprocessor(folder, {"shortest_edge": 224}, crop)


def main() -> None:
    out = Path(sys.argv[1])
    for name, make, dtypes in [("clip", clip, ["fp32"]), ("qwen3-mdlm", qwen3, ["fp32", "fp16", "int4"])]:
        checkpoint = out / name
        checkpoint.mkdir(parents=True)
        make(checkpoint)
        for dtype in dtypes:
            run(arguments().parse_args([str(checkpoint), str(out / f"{name}-{dtype}"), "--dtype", dtype]))


if __name__ == "__main__":
    main()
