"""
Checkpoints with random weights, of each family's true names, vocabulary and wiring at a small depth and width, laid
out as the families' authors lay theirs out.

    python checkpoints.py <family> <folder>
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizer_files import write_tokenizer, write_vocabulary

WIDTH, HEADS, GROUPS, DEPTH, INNER = 64, 4, 2, 2, 96


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Weights in bfloat16, as the authors have them, of a size at which logits differ and every layer has a say."""
    generator = torch.Generator().manual_seed(7)
    weights = {}
    for name, shape in shapes.items():
        drawn = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            value = 0.2 * drawn if name.endswith("bias") else 1 + 0.2 * drawn
        else:
            value = drawn * (2 / shape[1]) ** 0.5
        weights[name] = value.bfloat16()
    return weights


def save(folder: Path, weights: dict[str, torch.Tensor], config: dict[str, Any], shards: int, licence: str) -> None:
    """config.json, the weights in as many files as there are `shards`, their index, and a model card."""
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A model\n", encoding="utf-8")
    (folder / "LICENSE").write_text("All that the licence says.\n", encoding="utf-8")
    if shards == 1:
        save_file(weights, str(folder / "model.safetensors"), {"format": "pt"})
        return
    index = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for i, name in enumerate(weights) if i % shards == shard}
        save_file(part, str(folder / file), {"format": "pt"})
        index |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in weights.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def qwen_shapes(vocabulary: int, head: int, tied: bool, bias: bool, norms: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of Qwen2's (`bias`) and Qwen3's (`norms`) weights."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, WIDTH)}
    for layer in range(DEPTH):
        at = f"model.layers.{layer}"
        for name, outputs in [("q_proj", HEADS * head), ("k_proj", GROUPS * head), ("v_proj", GROUPS * head)]:
            shapes[f"{at}.self_attn.{name}.weight"] = (outputs, WIDTH)
            if bias:
                shapes[f"{at}.self_attn.{name}.bias"] = (outputs,)
        shapes[f"{at}.self_attn.o_proj.weight"] = (WIDTH, HEADS * head)
        if norms:
            shapes |= {f"{at}.self_attn.{name}_norm.weight": (head,) for name in ("q", "k")}
        shapes |= {f"{at}.mlp.{name}_proj.weight": (INNER, WIDTH) for name in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (WIDTH, INNER)
        shapes |= {f"{at}.{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")}
    shapes["model.norm.weight"] = (WIDTH,)
    if not tied:
        shapes["lm_head.weight"] = (vocabulary, WIDTH)
    return shapes


QWEN_CONFIG = {
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": INNER,
    "max_window_layers": DEPTH,
    "num_attention_heads": HEADS,
    "num_hidden_layers": DEPTH,
    "num_key_value_heads": GROUPS,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.0",
    "use_cache": False,
    "use_sliding_window": False,
}

QWEN_SPECIAL = "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end"
QWEN_SPECIAL += " vision_start vision_end vision_pad image_pad video_pad"
QWEN_PLAIN = ["<tool_call>", "</tool_call>"]
QWEN_PLAIN += [f"<|{name}|>" for name in "fim_prefix fim_middle fim_suffix fim_pad repo_name file_sep".split()]
QWEN_TOKENS = {
    token: 151643 + i for i, token in enumerate([*(f"<|{name}|>" for name in QWEN_SPECIAL.split()), *QWEN_PLAIN])
}

QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def qwen3_mdlm(folder: Path) -> None:
    """As dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1: one file, embeddings tied, a template that may think."""
    config = QWEN_CONFIG | {
        "architectures": ["A2DQwen3LMHeadModel"],
        "auto_map": {
            "AutoConfig": "modeling_qwen3.A2DQwen3Config",
            "AutoModel": "modeling_qwen3.A2DQwen3Model",
            "AutoModelForMaskedLM": "modeling_qwen3.A2DQwen3LMHeadModel",
        },
        "attention_bias": False,
        "head_dim": 32,  # wider than the width over the heads, as there
        "max_position_embeddings": 40960,
        "model_type": "a2d-qwen3",
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    }
    shapes = qwen_shapes(151936, head=32, tied=True, bias=False, norms=True)
    save(folder, random_weights(shapes), config, shards=1, licence="apache-2.0")
    thoughts = {"<tool_response>": 151665, "</tool_response>": 151666, "<think>": 151667, "</think>": 151668}
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "mask_token": "<|mask|>"}
    added = QWEN_TOKENS | thoughts | {"<|mask|>": 151669}
    write_tokenizer(folder, added, (*QWEN_PLAIN, *thoughts), tokenizer_class="Qwen2Tokenizer", **special)
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE, encoding="utf-8")


DREAM_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    + QWEN_TEMPLATE
)


def dream(folder: Path) -> None:
    """As Dream-org/Dream-v0-Instruct-7B: shards, biases in attention, a head of its own, vocab.json and merges.txt."""
    config = QWEN_CONFIG | {
        "architectures": ["DreamModel"],
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
        "eos_token_id": 151643,
        "mask_token_id": 151666,
        "max_position_embeddings": 131072,
        "model_type": "Dream",
        "pad_token_id": 151643,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "vocab_size": 152064,
    }
    shapes = qwen_shapes(152064, head=16, tied=False, bias=True, norms=False)
    save(folder, random_weights(shapes), config, shards=4, licence="apache-2.0")
    added = QWEN_TOKENS | {"<|beginoftext|>": 151665, "<|mask|>": 151666}
    special = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "mask_token": "<|mask|>"}
    special |= {"bos_token": "<|beginoftext|>", "chat_template": DREAM_TEMPLATE}
    write_vocabulary(folder, added, tuple(QWEN_PLAIN), tokenizer_class="DreamTokenizer", **special)


LLADA_TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def llada(folder: Path) -> None:
    """As GSAI-ML/LLaDA-8B-Instruct and LLaDA-1.5: OLMo's settings and names, shards."""
    config = {
        "activation_type": "silu",
        "alibi": False,
        "architectures": ["LLaDAModelLM"],
        "attention_layer_norm": False,
        "auto_map": {
            "AutoConfig": "configuration_llada.LLaDAConfig",
            "AutoModel": "modeling_llada.LLaDAModelLM",
            "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM",
        },
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "d_model": WIDTH,
        "embedding_size": 126464,
        "eos_token_id": 126081,
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "mask_token_id": 126336,
        "max_sequence_length": 4096,
        "mlp_hidden_size": INNER,
        "mlp_ratio": 4,
        "model_type": "llada",
        "multi_query_attention": None,
        "n_heads": HEADS,
        "n_kv_heads": HEADS,
        "n_layers": DEPTH,
        "pad_token_id": 126081,
        "rms_norm_eps": 1e-05,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": 500000.0,
        "scale_logits": False,
        "transformers_version": "4.46.3",
        "use_cache": False,
        "vocab_size": 126464,
        "weight_tying": False,
    }
    at, shapes = "model.transformer", {"model.transformer.wte.weight": (126464, WIDTH)}
    for layer in range(DEPTH):
        block = f"{at}.blocks.{layer}"
        shapes |= {f"{block}.{name}.weight": (WIDTH, WIDTH) for name in ("q_proj", "k_proj", "v_proj", "attn_out")}
        shapes |= {f"{block}.{name}.weight": (INNER, WIDTH) for name in ("ff_proj", "up_proj")}
        shapes[f"{block}.ff_out.weight"] = (WIDTH, INNER)
        shapes |= {f"{block}.{name}_norm.weight": (WIDTH,) for name in ("attn", "ff")}
    shapes |= {f"{at}.ln_f.weight": (WIDTH,), f"{at}.ff_out.weight": (126464, WIDTH)}
    save(folder, random_weights(shapes), config, shards=6, licence="mit")
    added = {"<|startoftext|>": 126080, "<|endoftext|>": 126081, "<|mdm_mask|>": 126336}
    added |= {"<|start_header_id|>": 126346, "<|end_header_id|>": 126347, "<|eot_id|>": 126348}
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    write_tokenizer(folder, added, tokenizer_class="PreTrainedTokenizerFast", chat_template=LLADA_TEMPLATE, **special)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "llada": llada,
    "dream": dream,
    "qwen3-mdlm": qwen3_mdlm,
    "qwen3-bd3lm": qwen3_mdlm,
}


def main() -> None:
    family, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True)
    FAMILIES[family](folder)


if __name__ == "__main__":
    main()
