"""Finds the base encoder: an installed package, a folder, or a model on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

from schemas.errors import ConfigError

_NEEDED = ("config.json", "tokenizer.json")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def find_base_model(name: str, max_tokens: int) -> Path:
    """Returns the folder of a BERT encoder with its tokenizer.

    Args:
        name: an importable package with a folder model/, else a folder, else a name on the hub, in this order.
        max_tokens: the longest text it will have to read, special tokens included.

    Raises:
        ConfigError: it is nowhere, is not complete, is no BERT, or reads no texts of that length.
    """
    folder = _package_folder(name) or _local_folder(name) or _from_hub(name)
    missing = [file for file in _NEEDED if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in _WEIGHTS):
        missing.append(_WEIGHTS[0])
    if missing:
        raise ConfigError(f"base_model: {folder} has no {' and no '.join(missing)}; save model and tokenizer there")
    try:
        values = json.loads((folder / "config.json").read_bytes())
        kind, longest = values["model_type"], int(values["max_position_embeddings"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"base_model: {folder / 'config.json'} is not the configuration of an encoder") from None
    if kind != "bert":
        raise ConfigError(f"base_model: {name} is of the kind {kind!r}; expected an encoder of the kind 'bert'")
    if longest < max_tokens:
        raise ConfigError(f"base_model: {name} reads {longest} tokens, max_tokens asks for {max_tokens}; lower it")
    return folder


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of the files right in the folder that make a network."""
    digest = hashlib.sha256()
    for name in sorted([*_NEEDED, *_WEIGHTS]):
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                digest.update(f"{name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    return folder if folder and folder.is_dir() else None


def _local_folder(name: str) -> Path | None:
    return Path(name) if Path(name).is_dir() else None


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[*_NEEDED, *_WEIGHTS]))
    except Exception as error:  # the hub's errors, the network's and those of a bad name share no narrower base
        raise ConfigError(
            f"base_model: {name!r} is no installed package with a folder model/ and no folder, and could not be "
            f"fetched from the Hugging Face hub ({type(error).__name__}); install or download it first"
        ) from None
