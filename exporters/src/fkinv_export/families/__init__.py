"""The families of models that there is an exporter for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint import Checkpoint
from ..errors import ExportError


@dataclass(frozen=True)
class Options:
    """What the command is told besides names."""

    dtype: str
    image_size: int | None = None
    """Side of the pictures, for a vision tower that takes several; None leaves it to the checkpoint."""


@dataclass(frozen=True)
class Family:
    """A family: by what a checkpoint is known to be of it, and how its folder is written."""

    name: str
    recognises: Callable[[Checkpoint], bool]
    export: Callable[[Checkpoint, Path, Options], None]
    takes_image_size: bool = False
    """Whether pictures may have another side than the checkpoint's."""


def families() -> list[Family]:
    from . import clip, dream, llada, llada_v, mdlm, open_clip, qwen3, siglip

    dllms = [llada.FAMILY, dream.FAMILY, qwen3.MDLM, qwen3.BD3LM, mdlm.FAMILY, llada_v.FAMILY]
    return [*dllms, clip.FAMILY, siglip.FAMILY, open_clip.FAMILY]


def family_of(checkpoint: Checkpoint, named: str | None) -> Family:
    """The family called `named`, or the one that the checkpoint is known to be of."""
    known = families()
    found = [one for one in known if (one.recognises(checkpoint) if named is None else one.name == named)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in known)
    if named is not None:
        raise ExportError(f"--family {named}: no family is called so; known are {names}")
    kind = checkpoint.config.get("model_type", checkpoint.config.get("architectures"))
    if found:
        names = " or ".join(one.name for one in found)
        raise ExportError(f"{checkpoint.name}: its model_type is {kind!r}, which is {names}: say which by --family")
    raise ExportError(f"{checkpoint.name}: its model_type is {kind!r}; there are exporters for {names}")
