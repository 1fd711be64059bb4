"""The tokenizer of a checkpoint, as fkinv reads it, and what the manifest says of its ids."""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from .checkpoint import Checkpoint, first_line
from .errors import ExportError

INSTRUCTION = "{instruction}"
"""What stands in a prefix for the sentence that asks for a text."""


class Tokens:
    """The tokenizer that was written to a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        special = {name: text_of(self.config[name]) for name in ("bos_token", "eos_token") if self.config.get(name)}
        self.fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **special)

    def id(self, token: str) -> int:
        """The id of a token that has to be one."""
        found = self.fast.get_vocab().get(token)
        if found is None:
            raise ExportError(
                f"{self.folder / 'tokenizer.json'} has no token {token}: it is another model's, or a base model's"
            )
        return int(found)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, in which special tokens are read as such and around which none are put."""
        return list(self.fast.encode(text, add_special_tokens=False))

    def no_prose(self, stops: list[int]) -> list[int]:
        """Added tokens that are not special, such as Qwen's <think>: they could be drawn, and none is a word."""
        added = self.fast.added_tokens_decoder.items()
        return sorted(id for id, token in added if not token.special and id not in stops)

    def prefix(self, template: str, **settings: Any) -> str:
        """
        What stands before the reply when {instruction} is asked: by the checkpoint's own chat template if it has one,
        else `template`.
        """
        own = self.folder / "chat_template.jinja"
        given = own.read_text(encoding="utf-8") if own.exists() else self.config.get("chat_template")
        if given is None:
            return template
        asked = [{"role": "user", "content": INSTRUCTION}]
        try:
            made = self.fast.apply_chat_template(
                asked, chat_template=given, tokenize=False, add_generation_prompt=True, **settings
            )
        except Exception as error:  # a template may raise what it likes
            raise ExportError(f"{self.folder}: the chat template fails: {first_line(error)}") from error
        if made.count(INSTRUCTION) != 1:
            raise ExportError(f"{self.folder}: the chat template does not repeat what the user says")
        return str(made)


def add_token(folder: Path, token: str, id: int) -> None:
    """Adds a special token to the tokenizer.json in `folder`, unless it has it at that id already."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    taken = {one["id"]: one["content"] for one in tokenizer["added_tokens"]}
    if taken.get(id) == token:
        return
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer["added_tokens"].append({"id": id, "content": token, **plain})
    tokenizer["model"]["vocab"][token] = id  # or the library would number it anew, where ids are not without gaps
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def text_of(token: str | dict[str, Any]) -> str:
    return token if isinstance(token, str) else token["content"]


def copy_tokenizer(checkpoint: Checkpoint, out: Path, older: Any = Qwen2Tokenizer) -> Tokens:
    """
    Writes tokenizer.json and tokenizer_config.json: as they are, or, by the class `older`, made of the older vocab.json
    and merges.txt.
    """
    if checkpoint.has("tokenizer.json"):
        checkpoint.json("tokenizer_config.json")
        for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]:
            if checkpoint.has(name):
                shutil.copyfile(checkpoint.file(name), out / name)
    elif checkpoint.has("vocab.json") and checkpoint.has("merges.txt"):
        older.from_pretrained(checkpoint.path).save_pretrained(out)
    else:
        raise ExportError(f"{checkpoint.path} has no tokenizer.json, and no vocab.json with merges.txt either")
    tokens = Tokens(out)
    for id, token in checkpoint.json("tokenizer_config.json").get("added_tokens_decoder", {}).items():
        found = tokens.id(text_of(token))
        if found != int(id):
            raise ExportError(
                f"{checkpoint.path}: the tokenizer gives {text_of(token)} the id {found}, and tokenizer_config.json "
                f"says {id}"
            )
    return tokens
