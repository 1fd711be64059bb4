"""A network's graph in the type of weights that was asked for, and the network that gives what the graph should."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from . import quantise
from .graph import Input, release, write_graph

WEIGHT_TYPES = {"fp32": "float32", "fp16": "float16", "int8": "8-bit, float32", "int4": "4-bit, float32"}
"""What a manifest calls them."""


def write_typed(
    build: Callable[[], Any],
    inputs: Sequence[Input],
    output: str,
    graph: Path,
    dtype: str,
    with_tables: Callable[[Any], None] = lambda network: None,
) -> Any:
    """
    Writes the graph of the network that `build` makes in float32; returns the network whose `reference` gives what the
    graph should, with its very weights. `with_tables` makes a network ready for quantised weights, which tables that
    are looked up in are not.
    """
    network = build()
    if dtype in ("fp32", "fp16"):
        if dtype == "fp16":
            halve(network)
        write_graph(network, inputs, [output], graph)
        return network.float()
    with_tables(network)
    with tempfile.TemporaryDirectory(dir=graph.parents[1]) as folder:
        plain = Path(folder) / "plain.onnx"
        write_graph(network, inputs, [output], plain)
        release(network)  # the quantiser has all weights in memory once more
        quantise.quantise(plain, graph, dtype)
    network = build()
    with_tables(network)
    network.float()
    quantise.read_back(graph, network)
    return network


def halve(network: nn.Module) -> None:
    """Rounds all weights to float16. What is no weight, such as the frequencies of rotary angles, stays in float32."""
    for parameter in network.parameters():
        parameter.data = parameter.data.half()
