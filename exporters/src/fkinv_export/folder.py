"""A model folder as it is written: fkinv's docs/manifest.md and docs/models.md say what stands in one."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .errors import ExportError

GRAPH = Path("onnx") / "model.onnx"
"""Where fkinv looks for a dLLM's graph."""


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that is called `out` once all of it has been written: what fails leaves nothing that could be loaded."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} exists: name a folder that does not, or an empty one")
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise ExportError(f"{out} cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(file: Path, value: Any, indent: int | None = 2) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def copy_licence(checkpoint: Checkpoint, out: Path) -> None:
    for file in checkpoint.path.glob("LICENSE*"):
        shutil.copyfile(file, out / file.name)
