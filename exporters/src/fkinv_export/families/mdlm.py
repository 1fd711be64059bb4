"""
MDLM trained on OpenWebText, kuleshov-group/mdlm-owt: a DiT whose time is always zero, over GPT-2's tokens and a [MASK].

Names, wiring and settings: kuleshov-group/mdlm (github.com), models/dit.py, diffusion.py and dataloader.py, and
modeling_mdlm.py, configuration_mdlm.py of kuleshov-group/mdlm-owt (huggingface.co). The repository has no tokenizer: it
is GPT-2's, whose <|endoftext|> stands at both ends of what the model was trained on. [MASK] is the id behind it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import layer_norm, silu

from ..checkpoint import Checkpoint
from ..dllm import Dllm, export_dllm
from ..errors import ExportError
from ..tokens import Tokens
from . import Family, Options

FREQUENCIES = 256
"""What the authors' embedding of the time begins with: of time zero, 128 cosines of 0 and 128 sines of it."""

MIX = 4
"""How much wider a block is inside."""

TOKENIZER = "openai-community/gpt2"

DEFAULTS = {"order": "random", "temperature": 1.0, "length": 32, "minLength": 8, "steps": 32}


class Scale(nn.Module):
    """LayerNorm without a bias, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, x.shape[-1:]) * self.weight.float() * (1 + scale) + shift


class Block(nn.Module):
    def __init__(self, width: int, heads: int, condition: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = Scale(width), Scale(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, MIX * width), nn.GELU(approximate="tanh"), nn.Linear(MIX * width, width)
        )
        self.adaLN_modulation = nn.Linear(condition, 6 * width)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        dtype = self.attn_out.weight.dtype
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation.chunk(6)
        qkv = self.attn_qkv(self.norm1(x, shift1, scale1).to(dtype))
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = turn(q, cos, sin), turn(k, cos, sin)
        weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1).to(dtype)
        x = x + gate1 * self.attn_out((weights @ v).transpose(1, 2).flatten(2)).float()
        return x + gate2 * self.mlp(self.norm2(x, shift2, scale2).to(dtype)).float()


class Output(nn.Module):
    def __init__(self, width: int, columns: int, condition: int) -> None:
        super().__init__()
        self.norm_final = Scale(width)
        self.linear = nn.Linear(width, columns)
        self.adaLN_modulation = nn.Linear(condition, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm_final(x, *self.modulation.chunk(2)).to(self.linear.weight.dtype)).float()


def turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary angles, in float32: a number of the first half with that of the second."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class Dit(nn.Module):
    """
    input_ids int64 [states, positions], rows int64 [n] → logits float32 [states, n, columns]. The residual stream is in
    float32. The modules have the authors' names.
    """

    def __init__(self, width: int, heads: int, depth: int, columns: int, condition: int) -> None:
        super().__init__()
        self.table = nn.Embedding(columns, width)
        self.sigma_map = nn.ModuleDict(
            {"mlp": nn.Sequential(nn.Linear(FREQUENCIES, condition), nn.SiLU(), nn.Linear(condition, condition))}
        )
        self.blocks = nn.ModuleList(Block(width, heads, condition) for _ in range(depth))
        self.output_layer = Output(width, columns, condition)
        self.half = width // heads // 2

    @property
    def head(self) -> nn.Linear:
        return self.output_layer.linear

    def fold(self) -> None:
        """Puts what the time makes of its weights in their place: at time zero it is the same in every run."""
        time = torch.cat([torch.ones(FREQUENCIES // 2), torch.zeros(FREQUENCIES // 2)])
        with torch.no_grad():
            condition = silu(self.sigma_map["mlp"](time))
            for part in [*self.blocks, self.output_layer]:
                part.register_buffer("modulation", part.adaLN_modulation(condition), persistent=False)
                del part.adaLN_modulation
        del self.sigma_map

    def forward(self, input_ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        x = self.table(input_ids).float()
        frequencies = 10_000 ** (-torch.arange(self.half) / self.half)
        angles = torch.arange(input_ids.shape[1])[:, None] * frequencies
        cos, sin = angles.cos(), angles.sin()
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.output_layer(x.index_select(1, rows))

    reference = forward


def network(checkpoint: Checkpoint) -> Dit:
    checkpoint.expect({"time_conditioning": False})
    setting = checkpoint.setting
    with torch.device("meta"):
        dit = Dit(
            setting("hidden_dim"), setting("n_heads"), setting("n_blocks"), setting("vocab_size"), setting("cond_dim")
        )
    names = {name: f"backbone.{name}" for name, _ in dit.named_parameters()}
    names["table.weight"] = "backbone.vocab_embed.embedding"
    checkpoint.load_into(dit.eval(), names, [r"backbone\.rotary_emb\.inv_freq"])
    dit.fold()
    return dit


def manifest(checkpoint: Checkpoint, tokens: Tokens) -> dict[str, Any]:
    end = tokens.id("<|endoftext|>")
    return {
        "maskId": checkpoint.setting("vocab_size") - 1,
        "stopIds": [end],
        "maxPositions": checkpoint.setting("model_length"),
        "prefix": [end],
        "condition": "none",
        "defaults": DEFAULTS,
    }


def tokenizer_of(checkpoint: Checkpoint) -> Checkpoint:
    """Where GPT-2's tokenizer is: with the weights, if somebody put it there, else on the Hub."""
    if checkpoint.has("tokenizer.json"):
        return checkpoint
    try:
        return Checkpoint.find(TOKENIZER, wanted=["config.json", "tokenizer.json", "tokenizer_config.json"])
    except ExportError as error:
        raise ExportError(
            f"{checkpoint.path} has no tokenizer.json: put that of {TOKENIZER} and its tokenizer_config.json there "
            f"({error})"
        ) from error


def export(checkpoint: Checkpoint, out: Path, options: Options) -> None:
    dllm = Dllm(
        build=lambda: network(checkpoint),
        manifest=lambda tokens: manifest(checkpoint, tokens),
        licence="Apache-2.0",
        tokenizer=tokenizer_of(checkpoint),
    )
    export_dllm(dllm, checkpoint, out, options.dtype)


FAMILY = Family("mdlm", lambda checkpoint: checkpoint.config.get("model_type") == "mdlm", export)
