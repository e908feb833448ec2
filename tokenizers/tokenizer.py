"""What every tokenizer offers: ids of a batch, special tokens, word starts, files, a fingerprint."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from clozekit.tokenizers.errors import InputError

TOKENIZER_FILE = "tokenizer.json"
# KerasHub keeps the files of a tokenizer below the stem of its config file; ours go there too.
ASSETS_FOLDER = "assets/tokenizer"


class TokenBatch(NamedTuple):
    """The ids of several texts, one after the other.

    token_ids: int32 (num_tokens,); row_lengths: int64 (num_texts,), their sum is num_tokens.
    """

    token_ids: np.ndarray
    row_lengths: np.ndarray


class Tokenizer:
    """Base of the families' tokenizers. It knows neither Beam nor Keras.

    A subclass sets `special_token_names`, implements `encode_batch`, `decode`, `word_starts`, `get_config`,
    `save_assets` and `from_assets`, and fills `_pieces` (id -> piece).
    """

    # Attribute -> piece, in the words of the seeds: `cls_token`, `mask_token`, ...
    special_token_names: ClassVar[dict[str, str]] = {}
    _pieces: list[str]

    def encode_batch(self, texts: Sequence[str]) -> TokenBatch:
        """Ids of each text, without special tokens around it."""
        raise NotImplementedError

    def decode(self, token_ids: Sequence[int]) -> str:
        """Readable text of `token_ids`; special tokens are kept as they are written."""
        raise NotImplementedError

    def word_starts(self) -> np.ndarray:
        """bool (vocabulary_size,): True where a piece starts a word (a special token never does)."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments besides the vocabulary, under KerasHub's names."""
        raise NotImplementedError

    def save_assets(self, directory: Path) -> None:
        """Writes the vocabulary files into `directory`."""
        raise NotImplementedError

    @classmethod
    def from_assets(cls, directory: Path, config: dict[str, Any]) -> "Tokenizer":
        """The tokenizer whose files `save_assets` wrote, with the arguments of `config`."""
        raise NotImplementedError

    def vocabulary_size(self) -> int:
        return len(self._pieces)

    def get_vocabulary(self) -> list[str]:
        return list(self._pieces)

    def id_to_token(self, token_id: int) -> str:
        if not 0 <= token_id < len(self._pieces):
            raise InputError(f"a token id must be in [0, {len(self._pieces)}), got {token_id}; check the vocabulary")
        return self._pieces[token_id]

    def token_to_id(self, token: str) -> int:
        raise NotImplementedError

    def special_token_ids(self) -> dict[str, int]:
        """Special piece -> id, in the order of `special_token_names`."""
        return {piece: self.token_to_id(piece) for piece in dict.fromkeys(self.special_token_names.values())}

    def sha256(self) -> str:
        """Fingerprint of everything that decides the ids: class, pieces, settings."""
        described = [type(self).__name__, self._pieces, self.get_config()]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def save(self, directory: str | Path) -> None:
        """Writes `tokenizer.json` and the assets, the layout of a KerasHub preset."""
        root = Path(directory)
        assets = root / ASSETS_FOLDER
        assets.mkdir(parents=True, exist_ok=True)
        self.save_assets(assets)
        name = type(self).__name__
        described = {
            "module": "keras_hub.src.models",
            "class_name": name,
            "config": {**self.get_config(), "config_file": TOKENIZER_FILE},
            "registered_name": f"keras_hub>{name}",
        }
        (root / TOKENIZER_FILE).write_text(json.dumps(described, indent=4) + "\n", encoding="utf-8")
