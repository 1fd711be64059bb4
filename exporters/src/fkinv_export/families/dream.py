"""
Dream 7B (Base, Instruct) and DiffuCoder: Qwen2's network with full attention, whose row i predicts position i + 1.

Names, wiring and settings: DreamLM/Dream (github.com) and modeling_dream.py, configuration_dream.py,
generation_utils.py of Dream-org/Dream-v0-Instruct-7B (huggingface.co); also ZHZisZZ/dllm, dllm/pipelines/dream. The
weights have Qwen2's own names. The tokenizer is Qwen2's, kept as vocab.json and merges.txt, with <|beginoftext|> and
<|mask|> behind it.
"""

from pathlib import Path
from typing import Any

from transformers import Qwen2Config

from ..checkpoint import Checkpoint
from ..decoder import Decoder, config_from, empty
from ..dllm import Dllm, export_dllm
from ..tokens import Tokens
from . import Family, Options, chat

TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n"
)

SETTINGS = {"use_sliding_window": False, "use_mrope": False, "hidden_act": "silu"}

DEFAULTS = chat.DEFAULTS | {"order": "entropy", "temperature": 0.2, "topP": 0.95}
"""The authors' own."""


def network(checkpoint: Checkpoint) -> Decoder:
    checkpoint.expect(SETTINGS)
    model = empty(config_from(Qwen2Config, checkpoint.config))
    checkpoint.load_into(model, {name: name for name, _ in model.named_parameters()}, [r".*rotary_emb\.inv_freq"])
    model.tie_weights()
    return Decoder(model)


def manifest(checkpoint: Checkpoint, tokens: Tokens) -> dict[str, Any]:
    stops = [tokens.id("<|endoftext|>"), tokens.id("<|im_end|>")]
    return {
        "maskId": checkpoint.setting("mask_token_id"),
        "stopIds": stops,
        "suppressedIds": tokens.no_prose(stops),
        "logitShift": 1,
        "maxPositions": checkpoint.setting("max_position_embeddings"),
        "prefix": tokens.prefix(TEMPLATE),
        "instruction": chat.INSTRUCTION,
        "condition": "none",
        "defaults": DEFAULTS,
    }


def export(checkpoint: Checkpoint, out: Path, options: Options) -> None:
    dllm = Dllm(
        build=lambda: network(checkpoint),
        manifest=lambda tokens: manifest(checkpoint, tokens),
        licence="Apache-2.0",
    )
    export_dllm(dllm, checkpoint, out, options.dtype)


FAMILY = Family("dream", lambda checkpoint: checkpoint.config.get("model_type", "").lower() == "dream", export)
