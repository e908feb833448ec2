"""The tokenizers of the families, and loading one from its directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from clozekit.tokenizers.byte_pair import BytePairTokenizer
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.formats.sentence_piece_proto import SentencePieceModel
from clozekit.tokenizers.formats.special_ids import with_special_ids
from clozekit.tokenizers.huggingface_tokenizers import check_overrides, hugging_face_tokenizer
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer
from clozekit.tokenizers.settings.json_files import read_object
from clozekit.tokenizers.storage.file_systems import is_url, local_copy
from clozekit.tokenizers.tokenizer import ASSETS_FOLDER, TOKENIZER_FILE, Tokenizer
from clozekit.tokenizers.wordpiece import WordPieceTokenizer


class BertTokenizer(WordPieceTokenizer):
    """BERT's WordPiece tokenizer with its five special tokens."""

    special_token_names: ClassVar[dict[str, str]] = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "start_token": "[CLS]",
        "end_token": "[SEP]",
    }
    preset_families: ClassVar[tuple[str, ...]] = ("bert",)


class RobertaTokenizer(BytePairTokenizer):
    """RoBERTa's byte-level BPE tokenizer with its four special tokens."""

    special_token_names: ClassVar[dict[str, str]] = {
        "start_token": "<s>",
        "pad_token": "<pad>",
        "end_token": "</s>",
        "mask_token": "<mask>",
    }
    mask_takes_space_before: ClassVar[bool] = True
    preset_families: ClassVar[tuple[str, ...]] = ("roberta",)

    def _found_as_special(self) -> list[str]:
        # What stands for unknown bytes is a special token to fairseq and to Hugging Face, if it is in the vocabulary.
        return [*self.special_tokens, *([self.unknown_token] if self.unknown_token in self._own_ids else [])]


class AlbertTokenizer(SentencePieceTokenizer):
    """ALBERT's SentencePiece tokenizer; its special tokens are pieces of the model.

    Upper and lower case are the model's affair: ALBERT's own normalises with `nmt_nfkc_cf`, which folds case.
    """

    special_token_names: ClassVar[dict[str, str]] = {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "start_token": "[CLS]",
        "end_token": "[SEP]",
    }
    mask_takes_space_before: ClassVar[bool] = True
    preset_families: ClassVar[tuple[str, ...]] = ("albert",)


class XLMRobertaTokenizer(SentencePieceTokenizer):
    """XLM-RoBERTa's SentencePiece tokenizer, with the ids of fairseq.

    fairseq put `<s> <pad> </s> <unk>` first and `<mask>` last; a piece with id i in the model has id i + 1 here.
    special_ids: the ids of these five where they are others; the pieces have those that are left, in the model's order.
    """

    special_token_names: ClassVar[dict[str, str]] = {
        "start_token": "<s>",
        "pad_token": "<pad>",
        "end_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    mask_takes_space_before: ClassVar[bool] = True
    preset_families: ClassVar[tuple[str, ...]] = ("xlm_roberta",)

    def __init__(
        self,
        proto: str | Path | bytes | None = None,
        sequence_length: int | None = None,
        dtype: str = "int32",
        add_bos: bool = False,
        add_eos: bool = False,
        special_tokens_in_strings: bool = False,
        added_tokens: Sequence[AddedToken | dict[str, Any]] | None = None,
        special_ids: Mapping[str, int] | None = None,
    ) -> None:
        self.special_ids = None if special_ids is None else dict(special_ids)
        super().__init__(proto, sequence_length, dtype, add_bos, add_eos, special_tokens_in_strings, added_tokens)

    def _pieces_of_model(self, model: SentencePieceModel, source: str) -> list[str]:
        if model.pieces[:3] != ["<unk>", "<s>", "</s>"]:
            raise InputError(
                "a model of XLM-RoBERTa must begin with the pieces <unk>, <s>, </s>,"
                f" {source} begins with {', '.join(model.pieces[:3])}; train it with sentencepiece's defaults"
            )
        if self.special_ids is None:
            return ["<s>", "<pad>", "</s>", "<unk>", *model.pieces[3:], "<mask>"]
        return with_special_ids(model.pieces[3:], self.special_ids, self.special_tokens)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **({} if self.special_ids is None else {"special_ids": self.special_ids})}


_FAMILIES: dict[str, type[Tokenizer]] = {
    family.__name__: family for family in (BertTokenizer, RobertaTokenizer, AlbertTokenizer, XLMRobertaTokenizer)
}


def load_tokenizer(directory: str | Path, overrides: dict[str, Any] | None = None) -> Tokenizer:
    """The tokenizer of a directory or URL: one that `Tokenizer.save` wrote, also inside a preset, or files of Hugging Face.

    overrides: constructor arguments that go before the stored settings.
    Raises InputError when the directory holds none, or one of a class we don't know; TypeError for an unknown override.
    """
    overrides = overrides or {}
    if is_url(directory):
        with local_copy(str(directory)) as folder:
            try:
                return load_tokenizer(folder, overrides)
            except InputError as error:
                raise InputError(str(error).replace(str(folder), str(directory))) from error
    root = Path(directory)
    config_path = root / TOKENIZER_FILE
    described = read_object(config_path) if config_path.is_file() else {}
    if "class_name" not in described:
        return hugging_face_tokenizer(root, _FAMILIES, overrides)
    name = described["class_name"]
    if not isinstance(name, str) or name not in _FAMILIES:
        raise InputError(f"the tokenizer class must be one of {', '.join(_FAMILIES)}, {config_path} says {name!r}")
    check_overrides(_FAMILIES[name], overrides)
    try:
        return _FAMILIES[name].from_assets(root / ASSETS_FOLDER, dict(described["config"]), overrides)
    except FileNotFoundError as error:
        raise InputError(f"a tokenizer must be whole, {root} misses {error.filename}; copy it again") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"a tokenizer must be whole, the settings in {config_path} are not ({error})") from error
