"""
Tokenizers of the families' kinds: byte-level BPE with few merges, and the families' special tokens at their true ids.
"""

import json
from pathlib import Path
from typing import Any

WORDS = (
    "a an the of on in with at and red green blue dark small old photo picture cat dog house tree sky street".split()
)


def byte_letters() -> list[str]:
    """The letters that byte-level BPE writes the 256 bytes with, as GPT-2 has them."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


def bpe() -> tuple[dict[str, int], list[list[str]]]:
    vocabulary = {letter: i for i, letter in enumerate(byte_letters())}
    merges: list[list[str]] = []
    for word in [*WORDS, *(f"Ġ{word}" for word in WORDS)]:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                merges.append([word[: end - 1], word[end - 1]])
                vocabulary[word[:end]] = len(vocabulary)
    return vocabulary, merges


def write_tokenizer(folder: Path, added: dict[str, int], plain: tuple[str, ...] = (), **config: Any) -> None:
    """tokenizer.json and tokenizer_config.json with the `added` tokens, all special but the `plain` ones."""
    vocabulary, merges = bpe()
    tokens = [
        {"id": id, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        | {"special": token not in plain}
        for token, id in added.items()
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": tokens,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary | added,
            "merges": merges,
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    write_config(folder, added, plain, **config)


def write_config(folder: Path, added: dict[str, int], plain: tuple[str, ...], **config: Any) -> None:
    decoder = {
        str(id): {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
        | {"special": token not in plain}
        for token, id in added.items()
    }
    value = {"added_tokens_decoder": decoder, "model_max_length": 131072, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(value), encoding="utf-8")


def write_vocabulary(folder: Path, added: dict[str, int], plain: tuple[str, ...] = (), **config: Any) -> None:
    """
    The older files of the same: vocab.json, merges.txt, tokenizer_config.json. Added tokens get the ids behind the
    vocabulary, so it is as long as the true one.
    """
    vocabulary, merges = bpe()
    vocabulary |= {f"unused{id}": id for id in range(len(vocabulary), min(added.values()))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_config(folder, added, plain, **config)
