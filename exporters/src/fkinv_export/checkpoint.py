"""A checkpoint as its authors publish it: config.json, safetensors in one file or in shards, a tokenizer, a licence."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from .errors import ExportError

WANTED = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "LICENSE*", "README.md"]
"""What is fetched of a repository: no code, no weights in pickles, no pictures."""

OPEN_CLIP = "open_clip_config.json"
"""What a repository of open_clip has for a config.json, or beside one."""


def as_it_is(parameter: str, weight: torch.Tensor) -> torch.Tensor:
    return weight


class Checkpoint:
    """A folder of a checkpoint, and the name that its family may be read from."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        # Some of open_clip's repositories have their own file alone.
        has_config = self.has("config.json") or not self.has(OPEN_CLIP)
        self.config: dict[str, Any] = self.json("config.json") if has_config else {}

    @staticmethod
    def find(given: str, revision: str | None = None, wanted: list[str] = WANTED) -> "Checkpoint":
        """The checkpoint in a folder, or that of a repository of the Hub, `org/name`, which is fetched if need be."""
        folder = Path(given)
        if folder.is_dir():
            return Checkpoint(folder, folder.resolve().name)
        given = given.removeprefix("hf:")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", given):
            raise ExportError(f"{given}: neither a folder nor a name of the Hub, such as GSAI-ML/LLaDA-8B-Instruct")
        try:
            from huggingface_hub import snapshot_download
        except ImportError:
            raise ExportError(
                f"{given} is no folder, and for names of the Hub huggingface_hub is missing: install it, or fetch the "
                "repository and name its folder"
            ) from None
        try:
            return Checkpoint(Path(snapshot_download(given, revision=revision, allow_patterns=wanted)), given)
        except (OSError, ValueError) as error:  # its errors of names, rights and networks are OSErrors
            raise ExportError(f"{given}: the Hub did not give it ({first_line(error)})") from error

    def file(self, name: str) -> Path:
        return self.path / name

    def has(self, name: str) -> bool:
        return self.file(name).is_file()

    def json(self, name: str) -> dict[str, Any]:
        """The JSON file `name`, which has to be there."""
        try:
            value = json.loads(self.file(name).read_text(encoding="utf-8"))
        except OSError as error:
            raise ExportError(f"{self.file(name)} cannot be read ({error.strerror}): a checkpoint has it") from error
        except ValueError as error:
            raise ExportError(f"{self.file(name)} is not JSON: {first_line(error)}") from error
        if not isinstance(value, dict):
            raise ExportError(f"{self.file(name)} is no JSON object")
        return value

    def setting(self, key: str, default: Any = None) -> Any:
        """The value of `key` in config.json; without a default it has to be there."""
        value = self.config.get(key, default)
        if value is None:
            raise ExportError(f"{self.file('config.json')}: {key} is missing")
        return value

    def expect(self, settings: Mapping[str, Any]) -> None:
        """Refuses a config.json with another value for one of `settings`, as the network is another one then."""
        for key, expected in settings.items():
            found = self.config.get(key, expected)
            if found != expected:
                raise ExportError(
                    f"{self.file('config.json')}: {key} is {found!r}, and this exporter knows {expected!r} only"
                )

    def weight_files(self, glob: str = "*.safetensors") -> dict[str, Path]:
        """The safetensors file of each weight, by the weight's name, of the files that match `glob`."""
        if fnmatch("model.safetensors", glob) and self.has("model.safetensors.index.json"):
            index = self.json("model.safetensors.index.json").get("weight_map", {})
            files = {name: self.file(file) for name, file in index.items()}
        else:
            found = sorted(self.path.glob(glob))
            files = {name: file for file in found for name in opened(file).keys()}
        if not files:
            raise ExportError(f"{self.path} has no weights: no file ends in .safetensors")
        return files

    def shape(self, name: str) -> list[int]:
        """The shape of a weight."""
        files = self.weight_files()
        if name not in files:
            raise ExportError(f"{self.path}: the weight {name} is missing")
        return list(opened(files[name]).get_slice(name).get_shape())

    def load_into(
        self,
        module: nn.Module,
        names: Mapping[str, str],
        unused: Iterable[str] = (),
        glob: str = "*.safetensors",
        changed: Callable[[str, torch.Tensor], torch.Tensor] = as_it_is,
    ) -> None:
        """
        Gives every parameter of `module` the weight that `names` has for it, as float32: of the files that match
        `glob`, and made what the parameter is by `changed(parameter, weight)`. The module may stand on the meta
        device. A weight that is missing, or of another shape, or that the network has no place for, is an error; those
        that match a pattern of `unused` are left.
        """
        files = self.weight_files(glob)
        weights: dict[str, torch.Tensor] = {}
        for parameter, expected in module.named_parameters():
            name = names[parameter]
            if name not in files:
                raise ExportError(f"{self.path}: the weight {name} is missing")
            try:
                found = changed(parameter, opened(files[name]).get_tensor(name))
            except SafetensorError as error:
                raise ExportError(f"{files[name]}: the weight {name} cannot be read: {first_line(error)}") from error
            if found.shape != expected.shape:
                shapes = f"{list(found.shape)}, config.json makes it {list(expected.shape)}"
                raise ExportError(f"{files[name]}: the weight {name} is {shapes}")
            weights[parameter] = found.float()
        left = set(files) - set(names.values())
        left = {name for name in left if not any(re.fullmatch(pattern, name) for pattern in unused)}
        if left:
            raise ExportError(f"{self.path}: there is no place for the weight {min(left)}: the network is another one")
        module.load_state_dict(weights, strict=False, assign=True)

    @property
    def licence(self) -> str | None:
        """What the model card's front matter calls the licence."""
        if not self.has("README.md"):
            return None
        card = self.file("README.md").read_text(encoding="utf-8", errors="replace")
        front = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
        found = re.search(r"^license: *(\S+)", front.group(1), re.MULTILINE) if front else None
        return found.group(1) if found else None


def opened(file: Path) -> Any:
    """A safetensors file, of which nothing is read yet."""
    try:
        return safe_open(str(file), framework="pt")
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{file} cannot be read: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
