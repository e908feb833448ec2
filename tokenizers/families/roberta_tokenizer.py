"""RoBERTa's tokenizer (Liu et al. 2019, arXiv 1907.11692): byte-level BPE."""

from typing import ClassVar

from clozekit.tokenizers.byte_pair import BytePairTokenizer


class RobertaTokenizer(BytePairTokenizer):
    """RoBERTa's byte-level BPE tokenizer with its four special tokens.

    Arguments, ids and errors: see `BytePairTokenizer`.

    Source: Liu et al. 2019 (arXiv 1907.11692), section 4.4.

    Example:

        >>> pieces = ["<s>", "<pad>", "</s>", "<unk>", "a", "d", "g", "o", "Ġ", "do", "dog", "Ġdog", "<mask>"]
        >>> tokenizer = models.RobertaTokenizer(pieces, merges=["d o", "do g", "Ġ dog"])
        >>> ids = tokenizer.tokenize("a dog")
        >>> ids.tolist(), tokenizer.detokenize(ids)
        ([4, 11], 'a dog')
    """

    special_token_names: ClassVar[dict[str, str]] = {
        "start_token": "<s>",
        "pad_token": "<pad>",
        "end_token": "</s>",
        "mask_token": "<mask>",
    }
    mask_takes_space_before: ClassVar[bool] = True
    doubles_separators: ClassVar[bool] = True
    huggingface_class: ClassVar[str] = "RobertaTokenizer"
    preset_families: ClassVar[tuple[str, ...]] = ("roberta",)

    def _found_as_special(self) -> list[str]:
        # What stands for unknown bytes is a special token to fairseq and to Hugging Face, if it is in the vocabulary.
        return [*self.special_tokens, *([self.unknown_token] if self.unknown_token in self._own_ids else [])]
