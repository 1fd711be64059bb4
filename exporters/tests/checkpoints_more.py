"""More of what checkpoints.py makes: MDLM, and LLaDA-V with its tower."""

from pathlib import Path

import torch
from checkpoints import DEPTH, GROUPS, HEADS, INNER, LLADA_TEMPLATE, WIDTH, qwen_shapes, random_weights, save
from safetensors.torch import save_file
from tokenizer_files import write_tokenizer

CONDITION = 16


def mdlm(folder: Path) -> None:
    """As kuleshov-group/mdlm-owt, with GPT-2's tokenizer beside it."""
    config = {
        "architectures": ["MDLM"],
        "auto_map": {"AutoConfig": "configuration_mdlm.MDLMConfig", "AutoModelForMaskedLM": "modeling_mdlm.MDLM"},
        "cond_dim": CONDITION,
        "dropout": 0.1,
        "hidden_dim": WIDTH,
        "model_length": 1024,
        "model_type": "mdlm",
        "n_blocks": DEPTH,
        "n_heads": HEADS,
        "return_dict": False,
        "time_conditioning": False,
        "torch_dtype": "float32",
        "vocab_size": 50258,
    }
    shapes: dict[str, tuple[int, ...]] = {"vocab_embed.embedding": (50258, WIDTH)}
    shapes |= linear("sigma_map.mlp.0", 256, CONDITION) | linear("sigma_map.mlp.2", CONDITION, CONDITION)
    for layer in range(DEPTH):
        at = f"blocks.{layer}"
        shapes |= {f"{at}.norm{i}.weight": (WIDTH,) for i in (1, 2)}
        shapes |= {f"{at}.attn_qkv.weight": (3 * WIDTH, WIDTH), f"{at}.attn_out.weight": (WIDTH, WIDTH)}
        shapes |= linear(f"{at}.mlp.0", WIDTH, 4 * WIDTH) | linear(f"{at}.mlp.2", 4 * WIDTH, WIDTH)
        shapes |= linear(f"{at}.adaLN_modulation", CONDITION, 6 * WIDTH)
    shapes |= {"output_layer.norm_final.weight": (WIDTH,)} | linear("output_layer.linear", WIDTH, 50258)
    shapes |= linear("output_layer.adaLN_modulation", CONDITION, 2 * WIDTH)
    weights = {f"backbone.{name}": value.float() for name, value in random_weights(shapes).items()}
    save(folder, weights, config, shards=1, licence="apache-2.0")
    size = WIDTH // HEADS
    weights["backbone.rotary_emb.inv_freq"] = 10_000 ** (-torch.arange(0, size, 2) / size)
    save_file(weights, str(folder / "model.safetensors"), {"format": "pt"})
    write_tokenizer(folder, {"<|endoftext|>": 50256}, tokenizer_class="GPT2Tokenizer", eos_token="<|endoftext|>")


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


TOWER, TOWER_WIDTH, TOWER_INNER = "model.vision_tower.vision_tower.vision_model", 144, 160


def llada_v(folder: Path) -> None:
    """As GSAI-ML/LLaDA-V: Llama's names, the tower less its last layer and with a norm that nothing uses."""
    config = {
        "architectures": ["LlavaLLaDAModelLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 126080,
        "eos_token_id": 126081,
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "image_aspect_ratio": "anyres_max_4",
        "image_crop_resolution": None,
        "image_grid_pinpoints": [[384, 384], [384, 768], [768, 384]],
        "initializer_range": 0.02,
        "intermediate_size": INNER,
        "max_position_embeddings": 8192,
        "mm_hidden_size": TOWER_WIDTH,
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter,mm_language_model",
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "google/siglip2-so400m-patch14-384",
        "model_type": "llava_llada",
        "num_attention_heads": HEADS,
        "num_hidden_layers": DEPTH,
        "num_key_value_heads": GROUPS,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "use_mm_proj": True,
        "vocab_size": 126464,
    }
    shapes = qwen_shapes(126464, head=WIDTH // HEADS, tied=False, bias=False, norms=False)
    at = f"{TOWER}.embeddings"
    shapes |= {f"{at}.patch_embedding.weight": (TOWER_WIDTH, 3, 14, 14), f"{at}.patch_embedding.bias": (TOWER_WIDTH,)}
    shapes |= {f"{at}.position_embedding.weight": (729, TOWER_WIDTH)}
    for layer in range(DEPTH):
        at = f"{TOWER}.encoder.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{at}.self_attn.{name}", TOWER_WIDTH, TOWER_WIDTH)
        shapes |= linear(f"{at}.mlp.fc1", TOWER_WIDTH, TOWER_INNER) | linear(f"{at}.mlp.fc2", TOWER_INNER, TOWER_WIDTH)
        shapes |= norm(f"{at}.layer_norm1") | norm(f"{at}.layer_norm2")
    shapes |= norm(f"{TOWER}.post_layernorm")
    shapes |= linear("model.mm_projector.0", TOWER_WIDTH, WIDTH) | linear("model.mm_projector.2", WIDTH, WIDTH)
    shapes |= {"model.image_newline": (WIDTH,)}
    save(folder, random_weights(shapes), config, shards=4, licence="apache-2.0")
    added = {"<|startoftext|>": 126080, "<|endoftext|>": 126081, "<|mdm_mask|>": 126336}
    added |= {"<|start_header_id|>": 126346, "<|end_header_id|>": 126347, "<|eot_id|>": 126348}
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    write_tokenizer(folder, added, tokenizer_class="PreTrainedTokenizerFast", chat_template=LLADA_TEMPLATE, **special)


def norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (TOWER_WIDTH,), f"{name}.bias": (TOWER_WIDTH,)}
