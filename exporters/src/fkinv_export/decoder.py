"""transformers' Llama, Qwen2 and Qwen3 as masked diffusion models: every position sees every other."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

CLASSES = {LlamaConfig: LlamaForCausalLM, Qwen2Config: Qwen2ForCausalLM, Qwen3Config: Qwen3ForCausalLM}


def empty(config: LlamaConfig | Qwen2Config | Qwen3Config) -> nn.Module:
    """The network of `config` but for its weights, which Checkpoint.load_into() gives it."""
    # Eager has no mask but the one it is given.
    config._attn_implementation = "eager"
    with torch.device("meta"):
        network = CLASSES[type(config)](config)
    network.model.rotary_emb = type(network.model.rotary_emb)(config)
    return network.eval()


class Decoder(nn.Module):
    """
    input_ids int64 [states, positions], rows int64 [n], and with blocks attention_mask float32 [1, 1, positions,
    positions], which is added to the scores → logits float32 [states, n, columns] of those rows. Angles are computed
    of the positions there are, and RMSNorm in float32 (transformers does that), which float16 overflows.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model, self.lm_head = network.model, network.lm_head
        self._network = [network]  # in a list: its parameters are this module's already

    @property
    def table(self) -> nn.Embedding:
        return self.model.embed_tokens

    @property
    def head(self) -> nn.Linear:
        return self.lm_head

    def forward(
        self, input_ids: torch.Tensor, rows: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        dtype = self.lm_head.weight.dtype
        hidden = self.model.embed_tokens(input_ids).to(dtype)
        positions = torch.arange(input_ids.shape[1]).unsqueeze(0)
        angles = self.model.rotary_emb(hidden, positions)
        mask = None
        if attention_mask is not None:  # -1e9 is no float16
            mask = attention_mask.clamp(min=torch.finfo(dtype).min).to(dtype)
        for layer in self.model.layers:
            hidden = layer(hidden, attention_mask=mask, position_embeddings=angles)
        asked = self.model.norm(hidden.index_select(1, rows))
        if self.lm_head.weight is not self.model.embed_tokens.weight:
            return self.lm_head(asked).float()
        # Over two axes it is a Gemm, which reads the table of tokens as it is: it is kept once.
        logits = self.lm_head(asked.reshape(-1, asked.shape[2])).float()
        return logits.reshape(input_ids.shape[0], rows.shape[0], -1)

    def reference(
        self, input_ids: torch.Tensor, rows: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The same by the network's own forward: all rows, with a mask that hides nothing where none is given."""
        positions = input_ids.shape[1]
        mask = torch.zeros(1, 1, positions, positions) if attention_mask is None else attention_mask
        return self._network[0](input_ids=input_ids, attention_mask=mask, use_cache=False).logits[:, rows]


def block_mask(positions: int, block: int) -> torch.Tensor:
    """float32 [1, 1, positions, positions]: 0 where one sees another, of its block or of one before it, else -1e9."""
    blocks = torch.arange(positions) // block
    return torch.where(blocks[:, None] >= blocks[None, :], 0.0, -1e9)[None, None]


def config_from(kind: type, settings: dict[str, Any]) -> Any:
    """A transformers config of what a config.json says, without what names the class that it was saved from."""
    own = {"model_type", "auto_map", "architectures", "transformers_version", "torch_dtype", "dtype"}
    return kind(**{key: value for key, value in settings.items() if key not in own})
