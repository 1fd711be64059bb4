"""
LLaDA 8B Instruct and 1.5: Llama's network with full attention, under OLMo's names.

Names, wiring and settings: ML-GSAI/LLaDA (github.com) and modeling_llada.py, configuration_llada.py of
GSAI-ML/LLaDA-8B-Instruct (huggingface.co); the template: tokenizer_config.json there, as ZHZisZZ/dllm,
dllm/utils/models.py, corrects it. `ff_proj` is the gate, which SiLU is applied to, `up_proj` what it is multiplied
with, a block's `ff_out` the way down, and `ff_out` behind the blocks the head.
"""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import LlamaConfig

from ..checkpoint import Checkpoint
from ..decoder import Decoder, empty
from ..dllm import Dllm, export_dllm
from ..tokens import Tokens
from . import Family, Options, chat

TEMPLATE = (
    "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\n{instruction}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)

NAMES = {
    "self_attn.q_proj": "q_proj",
    "self_attn.k_proj": "k_proj",
    "self_attn.v_proj": "v_proj",
    "self_attn.o_proj": "attn_out",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ff_norm",
}
"""What a block calls what a layer of Llama's calls so."""

SETTINGS = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "alibi": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "block_group_size": 1,
}
"""What OLMo's settings are in LLaDA: another value is another network."""


def llama_config(checkpoint: Checkpoint) -> LlamaConfig:
    checkpoint.expect(SETTINGS)
    setting = checkpoint.setting
    return LlamaConfig(
        hidden_size=setting("d_model"),
        intermediate_size=setting("mlp_hidden_size"),
        num_hidden_layers=setting("n_layers"),
        num_attention_heads=setting("n_heads"),
        num_key_value_heads=setting("n_kv_heads", setting("n_heads")),
        vocab_size=setting("embedding_size", setting("vocab_size")),
        max_position_embeddings=setting("max_sequence_length"),
        rms_norm_eps=setting("rms_norm_eps", 1e-5),
        rope_theta=setting("rope_theta", 500_000.0),
        hidden_act="silu",
        tie_word_embeddings=setting("weight_tying", False),
    )


def name_of(parameter: str) -> str:
    """What LLaDA calls a parameter of transformers' Llama."""
    outside = {"model.embed_tokens.weight": "wte", "model.norm.weight": "ln_f", "lm_head.weight": "ff_out"}
    if parameter in outside:
        return f"model.transformer.{outside[parameter]}.weight"
    _, _, layer, *inside, kind = parameter.split(".")
    return f"model.transformer.blocks.{layer}.{NAMES['.'.join(inside)]}.{kind}"


def network(checkpoint: Checkpoint) -> Decoder:
    model: nn.Module = empty(llama_config(checkpoint))
    checkpoint.load_into(model, {name: name_of(name) for name, _ in model.named_parameters()})
    model.tie_weights()
    return Decoder(model)


def manifest(checkpoint: Checkpoint, tokens: Tokens) -> dict[str, Any]:
    stops = [tokens.id("<|endoftext|>"), tokens.id("<|eot_id|>")]
    return {
        "maskId": checkpoint.setting("mask_token_id"),
        "stopIds": stops,
        "suppressedIds": tokens.no_prose(stops),
        "maxPositions": checkpoint.setting("max_sequence_length"),
        "prefix": tokens.prefix(TEMPLATE),
        "instruction": chat.INSTRUCTION,
        "condition": "none",
        "defaults": chat.DEFAULTS | {"blockLength": 32},
    }


def export(checkpoint: Checkpoint, out: Path, options: Options) -> None:
    dllm = Dllm(
        build=lambda: network(checkpoint),
        manifest=lambda tokens: manifest(checkpoint, tokens),
        licence="MIT",
    )
    export_dllm(dllm, checkpoint, out, options.dtype)


FAMILY = Family("llada", lambda checkpoint: checkpoint.config.get("model_type") == "llada", export)
