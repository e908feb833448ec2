"""What every tokenizer offers: ids of a batch, special tokens, word starts, files, a fingerprint."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.family_names import FAMILIES
from clozekit.tokenizers.common.text_batch import TextBatch, Texts, as_text_batch
from clozekit.tokenizers.formats.added_tokens import AddedToken, added_tokens_of, described
from clozekit.tokenizers.formats.vocabulary_files import check_pieces
from clozekit.tokenizers.hub.builtin_presets import BuiltinPreset, presets_of
from clozekit.tokenizers.settings.json_files import read_object
from clozekit.tokenizers.special_tokens import TokenFinder
from clozekit.tokenizers.storage.file_systems import is_url, path_named
from clozekit.tokenizers.token_stages import TokenStages

TOKENIZER_FILE = "tokenizer.json"
# KerasHub keeps the files of a tokenizer below the stem of its config file; ours go there too.
ASSETS_FOLDER = "assets/tokenizer"
# Options that KerasHub's tokenizers don't have and refuse to load; written only when one is set.
OPTIONS_FILE = "clozekit_options.json"


# Tables that are rebuilt where they are needed.
_REBUILT = ("_compiled", "_token_stages", "_without_rules", "_graph")


# Constructor arguments that may be a path.
_VOCABULARIES = ("vocabulary", "merges", "proto")


class TokenBatch(NamedTuple):
    """The ids of several texts, one after the other.

    Args:
        token_ids: int32 (num_tokens,).
        row_lengths: int64 (num_texts,), how many ids each text has; their sum is num_tokens.

    Example:

        >>> batch = tokenizer.encode_batch(["The quick fox.", "dogs"])
        >>> type(batch).__name__, batch.token_ids.tolist(), batch.row_lengths.tolist()
        ('TokenBatch', [6, 7, 9, 5, 14, 15], [4, 2])
        >>> from clozekit.tokenizers.tokenizer import TokenBatch
        >>> isinstance(batch, TokenBatch)
        True
    """

    token_ids: np.ndarray
    row_lengths: np.ndarray


class _Presets:
    """`presets` of a class, without an instance: what KerasHub calls a class property."""

    def __get__(self, instance: object, owner: "type[Tokenizer]") -> dict[str, BuiltinPreset]:
        return presets_of(owner.preset_families)


class Tokenizer:
    """Base of the families' tokenizers: ids of texts and texts of ids. It knows neither Beam nor Keras.

    `encode_batch` takes a list of str or an Arrow string array and gives int32 ids with the length of each text;
    `tokenize` also takes a str or a `tf.string` tensor and gives int32 (num_tokens,) for one text. No special tokens are put
    around a text: preprocessors do that.

    A subclass sets `special_token_names`, implements `_encode`, `_decode`, `word_starts`, `keras_hub_config`, `save_assets`,
    `load_assets`, `_graph_tokenize`, and fills `_pieces` (id -> piece) and `_ids` (piece -> id) through `_set_pieces`.

    Args:
        sequence_length: tokens that `tokenize` pads or truncates to; None: as they come. `encode_batch` never does.
        special_tokens_in_strings: whether "[MASK]" written in a text is the special token. The rule, for every family:
            off (the default) it is text like any other; on, special tokens are found exactly as they are written, the
            leftmost and then the longest first, before anything else happens to the text, and what stands between them is
            tokenized on its own.
        dtype: "int32" or "string", what `tokenize` gives.
        added_tokens: tokens beside the vocabulary's pieces, as Hugging Face's library adds them: `AddedToken`s, or dicts with
            their fields. They are found in every text; one that the vocabulary lacks has the next id after it. One that is
            a special token sets how that is found where special tokens are.

    Raises:
        InputError: for another dtype, a sequence_length below 1, a vocabulary that lacks a special token, and later for ids
            outside the vocabulary or when there is no vocabulary yet.

    Example:

        >>> tokenizer = models.Tokenizer.from_preset("tiny/preset", special_tokens_in_strings=True)
        >>> ids = tokenizer.tokenize("The quick [MASK].")
        >>> ids.dtype, ids.tolist()
        (dtype('int32'), [6, 7, 4, 5])
        >>> tokenizer.detokenize(ids)
        'the quick [MASK] .'
        >>> tokenizer.save("tiny/other")
        >>> models.Tokenizer.from_preset("tiny/other").sha256() == tokenizer.sha256()
        True
    """

    # Attribute -> piece, in the words of the seeds: `cls_token`, `mask_token`, ...
    special_token_names: ClassVar[dict[str, str]] = {}
    # The mask stands for a word and its space in the families whose pieces begin with the space.
    mask_takes_space_before: ClassVar[bool] = False
    # What a word is given in front to be tokenized as one within a text, where a space is a part of its first piece.
    space_before_word: ClassVar[str] = ""
    unknown_token: str | None = None
    # Families of the built-in presets that `presets` lists.
    # Between the two texts of a pair stand two separators, and nothing else tells them apart (RoBERTa).
    doubles_separators: ClassVar[bool] = False
    # Whether ids of segments go with those of tokens.
    has_segments: ClassVar[bool] = True
    # Transformers' own class of such a tokenizer, where that gives the same ids.
    huggingface_class: ClassVar[str | None] = None
    # The files of `save_assets`.
    asset_files: ClassVar[tuple[str, ...]] = ()
    # The file in a preset that tells the settings.
    config_file: ClassVar[str] = TOKENIZER_FILE
    # The class of the family's backbone, once `clozekit.model` is there: a tokenizer knows no models.
    backbone_cls: ClassVar[Any] = None
    preset_families: ClassVar[tuple[str, ...]] = tuple(FAMILIES)
    # Of the roles that the family has (`special_token_names`); they are there with the vocabulary.
    start_token_id: int
    end_token_id: int
    pad_token_id: int
    mask_token_id: int
    presets = _Presets()

    def __init__(
        self,
        sequence_length: int | None = None,
        special_tokens_in_strings: bool = False,
        dtype: str = "int32",
        added_tokens: Sequence[AddedToken | dict[str, Any]] | None = None,
    ) -> None:
        if dtype not in ("int32", "string"):
            raise InputError(f'the dtype of a tokenizer must be "int32" or "string", got {dtype!r}; choose one')
        if sequence_length is not None and sequence_length < 1:
            raise InputError(f"sequence_length must be at least 1, got {sequence_length}; leave it out for no limit")
        self.sequence_length = sequence_length
        self.special_tokens_in_strings = special_tokens_in_strings
        self.dtype = dtype
        self.added_tokens = added_tokens_of(added_tokens, f"the {type(self).__name__}")
        self._pieces: list[str] | None = None
        self._ids: dict[str, int] = {}
        # Without the added tokens that are no pieces.
        self._own_ids: dict[str, int] = {}

    def encode_batch(self, texts: Texts, special_tokens_in_strings: bool | None = None) -> TokenBatch:
        """Ids of each text, without special tokens around it. Texts: a list of str or an Arrow string array."""
        self._check_vocabulary()
        honoured = self.special_tokens_in_strings if special_tokens_in_strings is None else special_tokens_in_strings
        stages = self._stages(honoured)
        batch = as_text_batch(texts)
        if not (stages.written or stages.normalized):
            return self._encode(batch)
        return TokenBatch(*stages.encode(batch, self._encode, self._normalizer(), self._encode_normalized))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Readable text of `token_ids`; special tokens are kept as they are written."""
        self._check_vocabulary()
        return self._decode([self._checked(int(token_id)) for token_id in token_ids])

    def word_starts(self) -> np.ndarray:
        """bool (vocabulary_size,): True where a piece starts a word (a special token never does)."""
        raise NotImplementedError

    def keras_hub_config(self) -> dict[str, Any]:
        """Constructor arguments besides the vocabulary, under KerasHub's names and no others."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments besides the vocabulary, which `from_config` and `keras.saving` take."""
        return {
            "dtype": self.dtype,
            **self.keras_hub_config(),
            **self.own_options(),
            "config_file": self.config_file,
        }

    def save_assets(self, directory: str | Path) -> None:
        """Writes the vocabulary files into `directory`."""
        raise NotImplementedError

    def load_assets(self, directory: str | Path) -> None:
        """Takes the vocabulary from the files that `save_assets` (or KerasHub's) wrote."""
        raise NotImplementedError

    def _encode(self, batch: TextBatch) -> TokenBatch:
        raise NotImplementedError

    def _decode(self, token_ids: list[int]) -> str:
        raise NotImplementedError

    def _normalizer(self) -> Callable[[bytes], bytes] | None:
        """What a family does to texts before it looks for pieces; None for one that does nothing."""
        return None

    def _encode_normalized(self, batch: TextBatch) -> TokenBatch:
        """`_encode` of texts that `_normalizer` has changed already."""
        return self._encode(batch)

    def _stages(self, honoured: bool) -> TokenStages:
        """What is found in texts before anything else; honoured: special tokens too."""
        kept: dict[bool, TokenStages] = self.__dict__.setdefault("_token_stages", {})
        if honoured not in kept:
            special = set(self._found_as_special())
            wanted = {piece: self._as_special(piece) for piece in self._found_as_special() if honoured}
            wanted |= {piece: AddedToken(piece) for piece in self._always_special()}
            wanted |= {token.content: token for token in self.added_tokens if honoured or token.content not in special}
            normalizer = self._normalizer()
            finders = []
            for normalized in (False, True):
                tokens = [token for token in wanted.values() if token.normalized is normalized]
                patterns = [token.content.encode() for token in tokens]
                if normalized and normalizer is not None:
                    patterns = [normalizer(pattern) for pattern in patterns]
                finders.append(TokenFinder(tokens, [self.token_to_id(token.content) for token in tokens], patterns))
            kept[honoured] = TokenStages(*finders)
        return kept[honoured]

    def _as_special(self, piece: str) -> AddedToken:
        """How a special token of the family is found; the mask of some stands for a word and its space."""
        takes_space = self.mask_takes_space_before and piece == self.special_token_names.get("mask_token")
        return AddedToken(piece, lstrip=takes_space, special=True)

    def finds_as_usual(self, token: AddedToken, others: Iterable[AddedToken] = ()) -> bool:
        """Whether a token is a special one of the family, found as those are: exactly as they are written.

        others: that are to be added beside those that the tokenizer has.
        """
        special = self._found_as_special()
        if token.content not in special:
            return False
        usual = self._as_special(token.content)
        # What is dropped before the pieces is one whether a token takes it along.
        found = token._replace(lstrip=usual.lstrip, rstrip=usual.rstrip) if self.drops_white_space() else token
        # Alone, and in texts that normalisation leaves as they are, a token is found first or second all the same.
        alone = self._normalizer() is None and all(piece.content in special for piece in (*self.added_tokens, *others))
        return usual == found._replace(special=True, normalized=token.normalized and not alone)

    def drops_white_space(self) -> bool:
        """Whether white space at the begin and the end of a text decides nothing."""
        return False

    def _found_as_special(self) -> list[str]:
        """What is found in texts where special tokens are."""
        return self.special_tokens

    def added_config(self) -> dict[str, Any]:
        """For `get_config`: the added tokens that are no special ones. KerasHub refuses a tokenizer that has any."""
        special = set(self._found_as_special()) & self._own_ids.keys()
        told = [token for token in self.added_tokens if token.content not in special]
        return {"added_tokens": described(told)} if told else {}

    def _added_options(self) -> dict[str, Any]:
        """For `own_options`: how special tokens are found, if not as usual; all of the added tokens then."""
        special = set(self._found_as_special()) & self._own_ids.keys()
        is_told = any(token.content in special and not self.finds_as_usual(token) for token in self.added_tokens)
        return {"added_tokens": described(self.added_tokens)} if is_told else {}

    @property
    def file_assets(self) -> list[str]:
        """The files of `save_assets`."""
        return list(self.asset_files)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A tokenizer with the arguments of `get_config`; it has no vocabulary until `load_assets`."""
        named = [name for name in _VOCABULARIES if isinstance(config.get(name), str | Path)]
        if named:
            raise InputError(
                f"a description must not name files to be read, its {named[0]} is {str(config[named[0]])!r:.80}; call"
                " load_assets"
            )
        ours = {key: value for key, value in config.items() if key not in ("name", "trainable", "config_file")}
        dtype = ours.get("dtype")
        # KerasHub writes a dtype policy.
        if isinstance(dtype, dict):
            ours["dtype"] = dtype.get("config", {}).get("name", "int32")
        return cls(**ours)

    @classmethod
    def from_assets(
        cls, directory: str | Path, config: dict[str, Any], overrides: dict[str, Any] | None = None
    ) -> Self:
        """The tokenizer whose files `save_assets` wrote, with the arguments of `config`; `overrides` go before them."""
        options_path = Path(directory) / OPTIONS_FILE
        options = read_object(options_path) if options_path.is_file() else {}
        tokenizer = cls.from_config({**config, **options, **(overrides or {})})
        tokenizer.load_assets(directory)
        return tokenizer

    @classmethod
    def from_preset(cls, preset: str | Path, **overrides: Any) -> Self:
        """The tokenizer of a preset: a built-in id, a directory, `kaggle://`, `hf://` or a URL such as `gs://`.

        overrides: constructor arguments that go before the stored ones, such as `sequence_length=128`.
        Only the tokenizer's files are downloaded. Raises InputError when the preset's tokenizer is not a `cls`.
        """
        from clozekit.tokenizers.families.preset_tokenizer import tokenizer_of_preset

        tokenizer = tokenizer_of_preset(cls, preset, overrides)
        assert isinstance(tokenizer, cls)
        return tokenizer

    def save_to_preset(self, preset_dir: str | Path) -> None:
        """`save` into a directory or below a URL such as `gs://bucket/preset`; other files there stay."""
        from clozekit.tokenizers.hub.preset_upload import upload_directory
        from clozekit.tokenizers.storage.owned_files import add_owned, list_files

        with tempfile.TemporaryDirectory() as temporary:
            self.save(temporary)
            if is_url(preset_dir):
                upload_directory(Path(temporary), str(preset_dir), keep_others=True)
            else:
                self.save(preset_dir)
            add_owned(preset_dir, list_files(temporary))

    def save(self, directory: str | Path) -> None:
        """Writes `tokenizer.json` and the assets, the layout of a KerasHub preset."""
        self._check_vocabulary()
        with path_named(directory):
            self._save(directory)

    def _save(self, directory: str | Path) -> None:
        root = Path(directory)
        assets = root / ASSETS_FOLDER
        assets.mkdir(parents=True, exist_ok=True)
        self.save_assets(assets)
        options = self.own_options()
        if options:
            (assets / OPTIONS_FILE).write_text(json.dumps(options, indent=4) + "\n", encoding="utf-8")
        else:
            (assets / OPTIONS_FILE).unlink(missing_ok=True)
        name = type(self).__name__
        described = {
            "module": "keras_hub.src.models",
            "class_name": name,
            "config": {**self.keras_hub_config(), "config_file": self.config_file},
            "registered_name": f"keras_hub>{name}",
        }
        (root / TOKENIZER_FILE).write_text(json.dumps(described, indent=4) + "\n", encoding="utf-8")

    def _always_special(self) -> list[str]:
        """Pieces that are found in texts even without `special_tokens_in_strings`."""
        return []

    def own_options(self) -> dict[str, Any]:
        """Settings that `get_config` cannot hold because KerasHub has no such argument."""
        return {}

    def sha256(self) -> str:
        """Fingerprint of everything that decides the ids: class, pieces, settings."""
        self._check_vocabulary()
        options = self.own_options()
        if not self.special_tokens_in_strings:
            # How special tokens are found, where none are looked for.
            options.pop("added_tokens", None)
        described = [type(self).__name__, self._pieces, self.keras_hub_config(), options, self._algorithm_data()]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def _algorithm_data(self) -> Any:
        """What besides the pieces decides the ids: merges, scores."""
        return None

    def vocabulary_size(self) -> int:
        """How many ids there are, those of added tokens included."""
        return len(self._check_vocabulary())

    def get_vocabulary(self) -> list[str]:
        """All pieces in the order of their ids, added tokens included."""
        return list(self._check_vocabulary())

    def own_pieces(self) -> list[str]:
        """The vocabulary without the added tokens that it lacks."""
        self._check_vocabulary()
        return list(self._own_ids)

    def id_to_token(self, token_id: int) -> str:
        """The piece of an id. Raises InputError for one outside the vocabulary."""
        pieces = self._check_vocabulary()
        return pieces[self._checked(int(token_id))]

    def token_to_id(self, token: str) -> int:
        """Id of a piece; of a piece that the vocabulary lacks, the unknown token's."""
        self._check_vocabulary()
        found = self._ids.get(token)
        if found is None:
            found = self._ids.get(self.unknown_token) if self.unknown_token is not None else None
        if found is None:
            raise InputError(
                f"the vocabulary must hold the piece {token!r} or an unknown token, it has neither; check it"
            )
        return found

    @property
    def special_tokens(self) -> list[str]:
        return list(dict.fromkeys(self.special_token_names.values()))

    @property
    def special_token_ids(self) -> list[int]:
        """The ids of `special_tokens`."""
        return [self.token_to_id(piece) for piece in self.special_tokens]

    def tokenize(self, inputs: Any) -> Any:
        """Ids (or, with dtype "string", pieces) of a str, of several, or of a `tf.string` tensor.

        str -> int32 array (num_tokens,); several -> a list of lists, or int32 (num_texts, sequence_length) when that is
        set; a tensor of rank 0 or 1 -> a tensor or a ragged tensor, in a graph too.
        """
        if type(inputs).__module__.startswith("tensorflow"):
            return self.tokenize_in_graph(inputs)
        single = isinstance(inputs, str)
        batch = self.encode_batch([inputs] if single else inputs)
        rows = np.split(batch.token_ids, np.cumsum(batch.row_lengths)[:-1]) if len(batch.row_lengths) else []
        return self._tokens(rows, single)

    def _tokens(self, rows: list[np.ndarray], single: bool) -> Any:
        """What `tokenize` gives for the ids of each text; single: the one row alone."""
        if self.sequence_length is not None:
            padded = np.full((len(rows), self.sequence_length), self.padding_id(), dtype=np.int32)
            for row, ids in zip(padded, rows, strict=True):
                row[: len(ids)] = ids[: self.sequence_length]
            rows = list(padded)
        if self.dtype == "string":
            pieces = self._check_vocabulary()
            texts = [[pieces[token_id] for token_id in row] for row in rows]
            return texts[0] if single else texts
        if single:
            return rows[0]
        return padded if self.sequence_length is not None else [row.tolist() for row in rows]

    def __call__(self, inputs: Any) -> Any:
        """`tokenize`."""
        return self.tokenize(inputs)

    def detokenize(self, inputs: Any) -> Any:
        """Text of ids, or texts of several rows of ids: lists, arrays, tensors, in a graph too."""
        if type(inputs).__module__.startswith("tensorflow") and not _has_values(inputs):
            from clozekit.tokenizers import graph

            self._check_vocabulary()
            return graph.detokenize(self, inputs)
        if hasattr(inputs, "to_list"):
            inputs = inputs.to_list()
        elif hasattr(inputs, "numpy"):
            inputs = inputs.numpy()
        no_list = not isinstance(inputs, Sequence | np.ndarray) or isinstance(inputs, str | bytes)
        if no_list or getattr(inputs, "ndim", 1) == 0:
            raise InputError(
                f"detokenize takes a list of ids, or a list of such lists, got {inputs!r:.80}; put it in one"
            )
        if len(inputs) and hasattr(inputs[0], "__len__"):
            return [self.decode(row) for row in inputs]
        return self.decode(inputs)

    def tokenize_in_graph(self, inputs: Any) -> Any:
        """`tokenize` made of TensorFlow operations: a `tf.string` tensor in, int32 out, ragged for a batch."""
        from clozekit.tokenizers import graph

        self._check_vocabulary()
        return graph.tokenize(self, inputs)

    def _set_pieces(self, pieces: list[str]) -> None:
        """Takes the pieces by id; added tokens that are none of them have the ids behind."""
        self.__dict__.pop("_compiled", None)
        self.__dict__.pop("_token_stages", None)
        own = {piece: token_id for token_id, piece in enumerate(pieces)}
        more = [token.content for token in self.added_tokens if token.content not in own]
        # One list where nothing is added: a vocabulary may have a million pieces.
        self._pieces = [*pieces, *more] if more else pieces
        self._own_ids = own
        self._ids = {**own, **{piece: len(own) + place for place, piece in enumerate(more)}} if more else own
        for name, piece in self.special_token_names.items():
            setattr(self, name, piece)
            setattr(self, f"{name}_id", self._ids[piece])
        if self.added_tokens:
            # Raises for tokens that can't be told apart.
            self._stages(honoured=True)

    def _check_pieces(self, pieces: list[str], needed: Iterable[str], source: str) -> None:
        """Raises InputError unless the pieces make a vocabulary, with the special tokens that are not added to it."""
        added = {token.content for token in self.added_tokens}
        check_pieces(pieces, [piece for piece in dict.fromkeys(needed) if piece not in added], source)

    def _with_added_starts(self, starts: list[bool]) -> np.ndarray:
        """`word_starts` of the pieces, with those of the added tokens: each is a word, if it is no special token."""
        for token in self.added_tokens:
            if token.content not in self.special_tokens:
                starts[self._ids[token.content]] = not token.special
        return np.array(starts, dtype=bool)

    def _check_vocabulary(self) -> list[str]:
        if self._pieces is None:
            name = type(self).__name__
            raise InputError(f"a tokenizer must have a vocabulary, this {name} has none; pass one or call load_assets")
        return self._pieces

    def _checked(self, token_id: int) -> int:
        size = len(self._check_vocabulary())
        if not 0 <= token_id < size:
            raise InputError(f"a token id must be in [0, {size}), got {token_id}; check the vocabulary")
        return token_id

    def padding_id(self) -> int:
        """The id that fills rows up: that of the padding token, 0 without one."""
        return int(getattr(self, "pad_token_id", 0))

    def renamed(self, cls: type["Tokenizer"]) -> "Tokenizer":
        """The same tokenizer as an instance of a subclass that adds nothing but its name."""
        other = cls.__new__(cls)
        other.__dict__.update(self.__getstate__())
        return other

    def __getstate__(self) -> dict[str, Any]:
        # The tables of the kernels are rebuilt where they are needed: smaller pickles for Beam.
        return {key: value for key, value in self.__dict__.items() if key not in _REBUILT}


def _has_values(tensor: Any) -> bool:
    """Whether a tensor of TensorFlow is more than a part of a graph."""
    values = getattr(tensor, "flat_values", tensor)
    return hasattr(values, "numpy")
