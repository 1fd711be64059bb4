"""
The text networks once more, by their definitions and under the checkpoints' own names: RMSNorm, rotary angles,
attention without a causal mask, SwiGLU. What the exporter writes is held to it too, so that it does not rest on
transformers alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.torch import load_file
from torch import Tensor


@dataclass
class Names:
    table: str
    norm: str
    head: str
    block: str
    parts: dict[str, str]


QWEN = Names(
    "model.embed_tokens",
    "model.norm",
    "lm_head",
    "model.layers",
    {
        **{part: f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "q_norm", "k_norm")},
        "out": "self_attn.o_proj",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
        "norm1": "input_layernorm",
        "norm2": "post_attention_layernorm",
    },
)
LLADA = Names(
    "model.transformer.wte",
    "model.transformer.ln_f",
    "model.transformer.ff_out",
    "model.transformer.blocks",
    {
        **{part: part for part in ("q_proj", "k_proj", "v_proj")},
        "out": "attn_out",
        "gate": "ff_proj",
        "up": "up_proj",
        "down": "ff_out",
        "norm1": "attn_norm",
        "norm2": "ff_norm",
    },
)


class Plain:
    def __init__(self, family: str, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.weights: dict[str, Tensor] = {}
        for file in folder.glob("*.safetensors"):
            self.weights |= {name: value.double() for name, value in load_file(file).items()}
        self.names = LLADA if family == "llada" else QWEN
        get = self.config.get
        self.heads = get("n_heads", get("num_attention_heads"))
        self.depth = get("n_layers", get("num_hidden_layers"))
        self.block = 32 if family == "qwen3-bd3lm" else None

    def norm(self, x: Tensor, name: str) -> Tensor:
        return (
            x / (x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"]).sqrt() * self.weights[f"{name}.weight"]
        )

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0)

    def turn(self, x: Tensor) -> Tensor:
        """x [heads, positions, size]: number i and number i + size / 2 turned by position · θ^(−2i / size)."""
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[1])[:, None] * self.config["rope_theta"] ** (-torch.arange(half).double() / half)
        turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([turned.real, turned.imag], dim=-1)

    def attention(self, x: Tensor, at: str) -> Tensor:
        parts = self.names.parts

        def heads(part: str) -> Tensor:
            made = self.linear(x, f"{at}.{parts[part + '_proj']}")
            size = self.weights[f"{at}.{parts['q_proj']}.weight"].shape[0] // self.heads
            made = made.view(len(x), -1, size).transpose(0, 1)
            normed = f"{at}.{parts.get(part + '_norm', '')}"
            if f"{normed}.weight" in self.weights:
                made = self.norm(made, normed)
            return made.repeat_interleave(self.heads // made.shape[0], dim=0)

        q, k, v = self.turn(heads("q")), self.turn(heads("k")), heads("v")
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        if self.block is not None:
            of = torch.arange(len(x)) // self.block
            scores = scores.masked_fill(of[:, None] < of[None, :], -torch.inf)
        seen = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(x), -1)
        return self.linear(seen, f"{at}.{parts['out']}")

    def logits(self, ids: list[int]) -> Tensor:
        return self.of(self.weights[f"{self.names.table}.weight"][ids])

    def of(self, x: Tensor) -> Tensor:
        """The logits of embeddings."""
        names, parts = self.names, self.names.parts
        for layer in range(self.depth):
            at = f"{names.block}.{layer}"
            x = x + self.attention(self.norm(x, f"{at}.{parts['norm1']}"), at)
            y = self.norm(x, f"{at}.{parts['norm2']}")
            gate = self.linear(y, f"{at}.{parts['gate']}")
            x = x + self.linear(gate * gate.sigmoid() * self.linear(y, f"{at}.{parts['up']}"), f"{at}.{parts['down']}")
        x = self.norm(x, names.norm)
        head = self.weights.get(f"{names.head}.weight", self.weights[f"{names.table}.weight"])
        return x @ head.T


def difference(family: str, checkpoint: Path, folder: Path) -> float:
    """The largest difference of the logits of a folder's graph from these, in units of the largest logit."""
    plain = Plain(family, checkpoint)
    session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    worst = 0.0
    for positions in (9, 67):
        # Two states at once, and rows that are neither all nor in one piece.
        ids = np.random.default_rng(positions).integers(0, 300, (2, positions))
        rows = np.array([0, 3, positions - 1])
        given = {"input_ids": ids, "rows": rows}
        if plain.block is not None:
            of = np.arange(positions) // plain.block
            given["attention_mask"] = np.where(of[:, None] >= of[None, :], 0, -1e9).astype(np.float32)[None, None]
        (found,) = session.run(["logits"], given)
        expected = torch.stack([plain.logits(row.tolist())[rows] for row in ids]).numpy()
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    return worst
