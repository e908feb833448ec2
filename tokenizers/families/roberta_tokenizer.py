"""RoBERTa's tokenizer (Liu et al. 2019, arXiv 1907.11692): byte-level BPE."""

from typing import ClassVar

from clozekit.tokenizers.byte_pair import BytePairTokenizer


class RobertaTokenizer(BytePairTokenizer):
    """RoBERTa's byte-level BPE tokenizer with its four special tokens."""

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
