"""
MDLM, and what LLaDA-V adds to plain.py's networks, once more by their definitions and under the checkpoints' own names.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from plain import Plain
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, silu


class Dit:
    """MDLM, with the embedding of its time computed anew in each run."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        loaded = load_file(str(folder / "model.safetensors"))
        self.weights = {name.removeprefix("backbone."): value.double() for name, value in loaded.items()}

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0)

    def norm(self, x: Tensor, name: str, shift: Tensor, scale: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * self.weights[f"{name}.weight"]
        return x * (1 + scale) + shift

    def condition(self, sigma: float) -> Tensor:
        angles = sigma * torch.exp(-np.log(10_000) * torch.arange(128).double() / 128)
        hidden = self.linear(torch.cat([angles.cos(), angles.sin()]), "sigma_map.mlp.0")
        return silu(self.linear(silu(hidden), "sigma_map.mlp.2"))

    def turn(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[1])[:, None] * self.weights["rotary_emb.inv_freq"]
        turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([turned.real, turned.imag], dim=-1)

    def logits(self, ids: list[int]) -> Tensor:
        condition, heads = self.condition(0), self.config["n_heads"]
        x = self.weights["vocab_embed.embedding"][ids]
        for layer in range(self.config["n_blocks"]):
            at = f"blocks.{layer}"
            parts = self.linear(condition, f"{at}.adaLN_modulation").chunk(6)
            qkv = self.linear(self.norm(x, f"{at}.norm1", *parts[:2]), f"{at}.attn_qkv")
            q, k, v = (part.view(len(x), heads, -1).transpose(0, 1) for part in qkv.chunk(3, dim=1))
            q, k = self.turn(q), self.turn(k)
            seen = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v
            x = x + parts[2] * self.linear(seen.transpose(0, 1).reshape(len(x), -1), f"{at}.attn_out")
            hidden = self.linear(self.norm(x, f"{at}.norm2", *parts[3:5]), f"{at}.mlp.0")
            x = x + parts[5] * self.linear(gelu(hidden, approximate="tanh"), f"{at}.mlp.2")
        last = self.linear(condition, "output_layer.adaLN_modulation").chunk(2)
        return self.linear(self.norm(x, "output_layer.norm_final", *last), "output_layer.linear")


class Seeing(Plain):
    """LLaDA-V: features in place of the id `image`; the logits of the other places."""

    tower = "model.vision_tower.vision_tower.vision_model"

    def features(self, pixels: Tensor) -> Tensor:
        """pixels [3, 384, 384] → [730, width]."""
        weights, at = self.weights, f"{self.tower}.embeddings"
        patches = pixels[:, :378, :378].reshape(3, 27, 14, 27, 14).permute(1, 3, 0, 2, 4).reshape(729, -1)
        x = patches @ weights[f"{at}.patch_embedding.weight"].flatten(1).T + weights[f"{at}.patch_embedding.bias"]
        x = x + weights[f"{at}.position_embedding.weight"]
        for layer in range(2):
            at = f"{self.tower}.encoder.layers.{layer}"
            y = self.layer_norm(x, f"{at}.layer_norm1")
            q, k, v = (
                self.linear(y, f"{at}.self_attn.{part}_proj").view(729, -1, 72).transpose(0, 1) for part in "qkv"
            )
            seen = (q @ k.transpose(1, 2) / 72**0.5).softmax(-1) @ v
            x = x + self.linear(seen.transpose(0, 1).reshape(729, -1), f"{at}.self_attn.out_proj")
            hidden = self.linear(self.layer_norm(x, f"{at}.layer_norm2"), f"{at}.mlp.fc1")
            x = x + self.linear(gelu(hidden, approximate="tanh"), f"{at}.mlp.fc2")
        x = self.linear(gelu(self.linear(x, "model.mm_projector.0")), "model.mm_projector.2")
        return torch.cat([x, weights["model.image_newline"][None]])

    def layer_norm(self, x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def logits_of(self, ids: list[int], image: int, features: Tensor) -> Tensor:
        table, at = self.weights["model.embed_tokens.weight"], ids.index(image)
        logits = self.of(torch.cat([table[ids[:at]], features, table[ids[at + 1 :]]]))
        return torch.cat([logits[: at + 1], logits[at + len(features) :]])


def session(graph: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])


def relative(found: np.ndarray, expected: Tensor) -> float:
    return float(np.abs(found - expected.numpy()).max() / expected.abs().max())


def difference(family: str, checkpoint: Path, folder: Path) -> float:
    """The largest difference of what a folder's graphs give from these, in units of the largest number there is."""
    return mdlm(checkpoint, folder) if family == "mdlm" else llada_v(checkpoint, folder)


def mdlm(checkpoint: Path, folder: Path) -> float:
    plain, graph, worst = Dit(checkpoint), session(folder / "onnx" / "model.onnx"), 0.0
    for positions in (9, 67):
        ids = np.random.default_rng(positions).integers(0, 300, (2, positions))
        rows = np.array([0, 3, positions - 1])
        (found,) = graph.run(["logits"], {"input_ids": ids, "rows": rows})
        worst = max(worst, relative(found, torch.stack([plain.logits(row.tolist())[rows] for row in ids])))
    return worst


def llada_v(checkpoint: Path, folder: Path) -> float:
    plain = Seeing("llada-v", checkpoint)
    pixels = torch.randn(2, 3, 384, 384, generator=torch.Generator().manual_seed(3))
    (features,) = session(folder / "onnx" / "vision_model.onnx").run(None, {"pixel_values": pixels.numpy()})
    worst = relative(features, torch.stack([plain.features(one.double()) for one in pixels]))
    tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    image = next(token["id"] for token in tokens if token["content"] == "<image>")
    graph = session(folder / "onnx" / "model.onnx")
    for positions, places in [(9, (0, 2)), (67, (11, 5))]:  # of the image, which may differ from state to state
        ids = np.random.default_rng(positions).integers(0, 300, (2, positions))
        ids[[0, 1], places] = image
        rows = np.array([1, 4, positions - 1])
        (found,) = graph.run(["logits"], {"input_ids": ids, "rows": rows, "image_features": features})
        inputs = zip(ids, torch.from_numpy(features).double(), strict=True)
        expected = torch.stack([plain.logits_of(row.tolist(), image, own)[rows] for row, own in inputs])
        worst = max(worst, relative(found, expected))
    return worst
