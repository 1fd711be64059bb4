"""A dLLM's folder: the graph in the type that was asked for, tokenizer, manifest, and parity at two lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import parity, quantise
from .checkpoint import Checkpoint
from .folder import GRAPH, copy_licence, write_json
from .graph import Input, release
from .tokens import INSTRUCTION, Tokens, add_token, copy_tokenizer
from .typed import WEIGHT_TYPES, write_typed

LENGTHS = (13, 38)
"""Positions of the prompt in the cases of parity; the graph is traced at others."""

TRACED = 24


@dataclass
class Dllm:
    """
    What a family says of one of its checkpoints.

    `build` makes the network with its weights, in float32: a module whose `forward(input_ids, rows, *others)` gives the
    logits [states, rows, columns] in float32, and is exported; whose `reference` gives the same in the model's own
    way, and is what the graph is held to; whose `table` (nn.Embedding) is the tokens' and whose `head` (nn.Linear)
    makes the logits of it, with one weight where they are tied.
    """

    build: Callable[[], Any]
    manifest: Callable[[Tokens], dict[str, Any]]
    """fkinv.json but for what is the same for all: `tensors.rows`, `weightType`, `licence`, `parity`."""
    licence: str
    """Where the model card names none."""
    inputs: Callable[[int], list[Input]] = field(default=lambda positions: [])
    """The inputs behind input_ids and rows, for a row of as many positions."""
    added: dict[str, int] = field(default_factory=dict)
    """Special tokens that the tokenizer lacks, with their ids."""
    tokenizer: Checkpoint | None = None
    """Where the tokenizer is, if not with the weights."""


def export_dllm(dllm: Dllm, checkpoint: Checkpoint, out: Path, dtype: str) -> None:
    """Writes the folder `out`, and holds the graph to the PyTorch model."""
    tokens = copy_tokenizer(dllm.tokenizer or checkpoint, out)
    for token, id in dllm.added.items():
        add_token(out, token, id)
        tokens = Tokens(out)
    manifest = dllm.manifest(tokens)
    print(f"writing the graph in {dtype}", flush=True)
    reference = write_in(dllm, out / GRAPH, dtype)
    cases = [case(dllm, reference, tokens, manifest, length, dtype) for length in LENGTHS]
    release(reference)  # before the graph is loaded
    own = manifest.pop("tensors", {})
    manifest |= {
        "tensors": own | {"rows": "rows"},
        "weightType": WEIGHT_TYPES[dtype],
        "licence": checkpoint.licence or dllm.licence,
        "parity": "parity.json",
    }
    write_json(out / "fkinv.json", manifest)
    write_json(out / "parity.json", cases, indent=None)  # long lists of numbers
    copy_licence(checkpoint, out)
    check(dllm, out / GRAPH, cases)


def write_in(dllm: Dllm, graph: Path, dtype: str) -> Any:
    """Writes the graph; returns the network whose `reference` gives what it should, with its very weights."""
    inputs = [*row_of([0] * TRACED, range(TRACED // 2, TRACED)), *dllm.inputs(TRACED)]
    return write_typed(dllm.build, inputs, "logits", graph, dtype, halve_table)


def halve_table(network: Any) -> None:
    """
    Gives the tokens a table of their own in float16. Quantised, a head that was tied to it is another tensor, and the
    table, which is looked up and not multiplied, would stay in float32.
    """
    table = nn.Parameter(network.table.weight.half(), requires_grad=False)
    if network.head.weight is network.table.weight:
        network.head.weight = nn.Parameter(network.head.weight.clone(), requires_grad=False)
    network.table.weight = table


def row_of(ids: list[int], rows: Any) -> list[Input]:
    return [
        Input("input_ids", torch.tensor([ids]), {0: "states", 1: "positions"}),
        Input("rows", torch.tensor(list(rows)), {0: "rows"}),
    ]


def case(dllm: Dllm, network: Any, tokens: Tokens, manifest: dict[str, Any], length: int, dtype: str) -> dict[str, Any]:
    """A row as the engine makes it: the template, then tokens of which half are still [MASK]."""
    prefix = prefix_of(manifest, tokens)
    drawn = torch.randint(0, 256, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    ids = prefix + [manifest["maskId"] if i % 2 == 0 else drawn[i] for i in range(length)]
    first = len(prefix) - manifest.get("logitShift", 0)
    rows = range(first, first + length)
    inputs = [*row_of(ids, rows), *dllm.inputs(len(ids))]
    logits, tolerance = expected(network, [one.example for one in inputs], dtype)
    made = parity.dllm_case(ids, rows, logits, tolerance)
    condition = manifest["condition"]
    if condition == "none":
        return made
    image = next(one.example for one in inputs if one.name == condition["input"])
    return made | {"image_embeds": image.int().flatten().tolist()}


def expected(network: Any, inputs: list[torch.Tensor], dtype: str) -> tuple[Any, float]:
    """The logits that a graph should give, and by how much they may be off."""
    with torch.no_grad():
        (logits,) = network.reference(*inputs)
        if dtype != "int8":
            return logits.numpy(), parity.tolerance(dtype, logits.numpy())
        with quantise.rounded_activations(network):
            (rounded,) = network.reference(*inputs)
    # One activation that is rounded the other way moves all that come after it: the deeper the network, the less do two
    # ways to compute the same agree. What is allowed is twice what the rounding of activations does to the logits, as
    # each way may be off by that.
    return rounded.numpy(), 2 * float((rounded - logits).abs().max())


def prefix_of(manifest: dict[str, Any], tokens: Tokens) -> list[int]:
    """The ids before the prompt, with the sentence of the manifest in its place."""
    prefix = manifest.get("prefix", [])
    if not isinstance(prefix, str):
        return list(prefix)
    return tokens.encode(prefix.replace(INSTRUCTION, manifest.get("instruction", {}).get("text", "")))


def check(dllm: Dllm, graph: Path, cases: list[dict[str, Any]]) -> None:
    session = parity.session(graph)
    for one in cases:
        inputs = [*row_of(one["input_ids"], one["rows"]), *dllm.inputs(len(one["input_ids"]))]
        (logits,) = session.run(["logits"], {given.name: given.example.numpy() for given in inputs})
        what = f"at {len(one['input_ids'])} positions"
        parity.expect(what, parity.difference(one, logits[0]), one["tolerance"])
