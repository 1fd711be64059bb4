"""
Checkpoints with random weights, of each family's true names, vocabulary and wiring at a small depth and width, laid out as the families' authors
lay theirs out.

    python checkpoints.py <family> <folder>
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers_of import write_tokenizer, write_vocabulary

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

QWEN_TOKENS = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}

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
    thoughts = {"<think>": 151667, "</think>": 151668}
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "mask_token": "<|mask|>"}
    added = QWEN_TOKENS | thoughts | {"<|mask|>": 151669}
    write_tokenizer(folder, added, tuple(thoughts), tokenizer_class="Qwen2Tokenizer", **special)
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE, encoding="utf-8")


FAMILIES: dict[str, Callable[[Path], None]] = {"qwen3-mdlm": qwen3_mdlm, "qwen3-bd3lm": qwen3_mdlm}


def main() -> None:
    family, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True)
    FAMILIES[family](folder)


if __name__ == "__main__":
    main()
