"""
Qwen3 made a diffusion model (A2D): MDLM, with full attention, and BD3LM, whose positions see their own block and those
before it.

Names, wiring and settings: ZHZisZZ/dllm (github.com), dllm/pipelines/a2d/models/qwen3 for the network,
dllm/core/samplers/bd3lm.py for the mask (`build_staircase_attention_mask`: blocks of the row's positions),
dllm/utils/models.py for <|mask|> and the template without a thought. The checkpoints are dllm-hub's (huggingface.co).
Weights have Qwen3's own names, and nothing but the repository's name tells the two apart.
"""

from pathlib import Path
from typing import Any

from transformers import Qwen3Config

from ..checkpoint import Checkpoint
from ..decoder import Decoder, block_mask, config_from, empty
from ..dllm import Dllm, export_dllm
from ..graph import Input
from ..tokens import Tokens
from . import Family, Options, chat

TEMPLATE = "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

BLOCK = 32
"""Positions of a block of BD3LM."""

SETTINGS = {"use_sliding_window": False, "hidden_act": "silu"}


def network(checkpoint: Checkpoint) -> Decoder:
    checkpoint.expect(SETTINGS)
    config = config_from(Qwen3Config, checkpoint.config)
    model = empty(config)
    tied = ["lm_head.weight"] if config.tie_word_embeddings else []
    checkpoint.load_into(model, {name: name for name, _ in model.named_parameters()}, tied)
    model.tie_weights()
    return Decoder(model)


def manifest(checkpoint: Checkpoint, tokens: Tokens) -> dict[str, Any]:
    stops = [tokens.id("<|im_end|>"), tokens.id("<|endoftext|>")]
    return {
        "maskId": tokens.id("<|mask|>"),
        "stopIds": stops,
        "suppressedIds": tokens.no_prose(stops),
        "maxPositions": checkpoint.setting("max_position_embeddings"),
        "prefix": tokens.prefix(TEMPLATE, enable_thinking=False),
        "instruction": chat.INSTRUCTION,
        "condition": "none",
        "defaults": chat.DEFAULTS | {"blockLength": BLOCK},
    }


def block_manifest(checkpoint: Checkpoint, tokens: Tokens) -> dict[str, Any]:
    return manifest(checkpoint, tokens) | {
        "tensors": {"attentionMask": "attention_mask"},
        "attention": "block",
        "blockGrid": "row",
    }


def mask_input(positions: int) -> list[Input]:
    return [Input("attention_mask", block_mask(positions, BLOCK), {2: "positions", 3: "positions"})]


def export_mdlm(checkpoint: Checkpoint, out: Path, options: Options) -> None:
    dllm = Dllm(
        build=lambda: network(checkpoint),
        manifest=lambda tokens: manifest(checkpoint, tokens),
        licence="Apache-2.0",
    )
    export_dllm(dllm, checkpoint, out, options.dtype)


def export_bd3lm(checkpoint: Checkpoint, out: Path, options: Options) -> None:
    dllm = Dllm(
        build=lambda: network(checkpoint),
        manifest=lambda tokens: block_manifest(checkpoint, tokens),
        licence="Apache-2.0",
        inputs=mask_input,
    )
    export_dllm(dllm, checkpoint, out, options.dtype)


def recognises(checkpoint: Checkpoint, other: str) -> bool:
    return checkpoint.config.get("model_type") == "a2d-qwen3" and other not in checkpoint.name.lower()


MDLM = Family("qwen3-mdlm", lambda checkpoint: recognises(checkpoint, "bd3lm"), export_mdlm)
BD3LM = Family("qwen3-bd3lm", lambda checkpoint: recognises(checkpoint, "mdlm"), export_bd3lm)
