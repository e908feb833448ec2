"""XLM-RoBERTa's tokenizer (Conneau et al. 2019, arXiv 1911.02116): SentencePiece with the ids of fairseq."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.formats.sentence_piece_proto import SentencePieceModel
from clozekit.tokenizers.formats.special_ids import with_special_ids
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer


class XLMRobertaTokenizer(SentencePieceTokenizer):
    """XLM-RoBERTa's SentencePiece tokenizer, with the ids of fairseq.

    fairseq put `<s> <pad> </s> <unk>` first and `<mask>` last; a piece with id i in the model has id i + 1 here. The other
    arguments, ids and errors: see `SentencePieceTokenizer`.

    Args:
        special_ids: the ids of these five where they are others; the pieces have those that are left, in the model's order.

    Raises:
        InputError: for a model that does not begin with <unk>, <s>, </s>, or special_ids that are taken twice.

    Source: Conneau et al. 2019 (arXiv 1911.02116), section 3.

    Example:

        >>> tokenizer = models.XLMRobertaTokenizer("tiny/xlm_roberta/assets/tokenizer/vocabulary.spm")
        >>> tokenizer.detokenize(tokenizer.tokenize("The dog"))
        'The dog'
        >>> dict(zip(tokenizer.special_tokens, tokenizer.special_token_ids))
        {'<s>': 0, '<pad>': 1, '</s>': 2, '<unk>': 3, '<mask>': 35}
    """

    special_token_names: ClassVar[dict[str, str]] = {
        "start_token": "<s>",
        "pad_token": "<pad>",
        "end_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    mask_takes_space_before: ClassVar[bool] = True
    doubles_separators: ClassVar[bool] = True
    huggingface_class: ClassVar[str] = "XLMRobertaTokenizer"
    huggingface_model_file: ClassVar[str] = "sentencepiece.bpe.model"
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

    def keras_hub_config(self) -> dict[str, Any]:
        return {**super().keras_hub_config(), **({} if self.special_ids is None else {"special_ids": self.special_ids})}
