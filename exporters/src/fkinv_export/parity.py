"""What the PyTorch model gives, written down, and the written graph held to it; fkinv's docs/manifest.md: Parity."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .errors import ExportError

COLUMNS = 256
"""Columns of the first and of the last row that a case keeps."""

TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "int4": 1e-4}
"""
The largest difference that is allowed, in units of the largest logit there is. PyTorch has the weights that the graph
has, rounded or quantised, and computes in float32: what is left is the order of sums, and with fp16 the rounding of
activations.
"""


def tolerance(dtype: str, logits: np.ndarray) -> float:
    return TOLERANCES[dtype] * float(np.abs(logits).max())


def dllm_case(ids: Sequence[int], rows: Sequence[int], logits: np.ndarray, tolerance: float) -> dict[str, Any]:
    """A case of a dLLM: `ids` of a whole row, and the `logits` [rows, columns] of `rows` of it."""
    return {
        "input_ids": list(ids),
        "rows": list(rows),
        "argmax": logits.argmax(axis=1).tolist(),
        "row0": to_digits(logits[0, :COLUMNS]),
        "lastRow": to_digits(logits[-1, :COLUMNS]),
        "tolerance": float(f"{tolerance:.3g}"),
    }


def to_digits(values: np.ndarray) -> list[float]:
    """To seven digits, which float32 has."""
    return [float(f"{value:.7g}") for value in values]


def session(graph: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")  # or all weights are in memory twice
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def difference(case: Mapping[str, Any], logits: np.ndarray) -> float:
    """What fkinv holds to a case's tolerance (lib/examine/parity.ts), for the `logits` [rows, columns] of a graph."""
    below = logits.max(axis=1) - logits[np.arange(len(logits)), case["argmax"]]
    first = np.abs(logits[0, : len(case["row0"])] - case["row0"])
    last = np.abs(logits[-1, : len(case["lastRow"])] - case["lastRow"])
    return float(np.concatenate([below, first, last]).max())


def expect(what: str, difference: float, tolerance: float) -> None:
    """Says what came of a case; raises where the graph does not give what the model gave."""
    if not difference <= tolerance:
        raise ExportError(
            f"parity {what}: the graph is off by {difference:.3g}, and {tolerance:.3g} is allowed: nothing was written"
        )
    print(f"parity {what}: off by at most {difference:.2g} of {tolerance:.2g}", flush=True)
