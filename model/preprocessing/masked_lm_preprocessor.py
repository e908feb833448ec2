"""The preprocessor of masked LMs: rows of ids, masked anew at every call."""

from typing import TYPE_CHECKING, ClassVar

from clozekit.model.common.tensors import Settings
from clozekit.model.layers.masked_lm_mask_generator import MaskedLMMaskGenerator
from clozekit.model.masking.masking_rule import MaskingRule, num_predictions
from clozekit.model.preprocessing.preprocessor import Preprocessed, Preprocessor
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    import tensorflow as tf


class MaskedLMPreprocessor(Preprocessor):
    """Base of the families' masked-LM preprocessors: rows of ids, masked anew at every call.

    Gives (x, y, sample_weight): x a dict of token_ids (masked), padding_mask and, where the family has segments,
    segment_ids, each int32 (B, sequence_length), and mask_positions; y the original ids at mask_positions; sample_weight 1
    for used slots and 0 for the rest. mask_positions, y (int32) and sample_weight (float32) are (B, mask_selection_length).

    Exactly `mask_selection_rate` of the tokens that may be masked are selected, rounded up. With a `seed` the masks are a
    function of the seed and the rows, so a run repeats; `fit` then draws others in each epoch, and repeats them in the next
    run. What goes in, and the other errors: see `Preprocessor`.

    Args:
        tokenizer, sequence_length, truncate: as of every preprocessor.
        mask_selection_rate: share of the tokens that is selected, 0 to 1.
        mask_selection_length: slots of a row, the most that is selected; None: as many as the rate can ask for.
        mask_token_rate, random_token_rate: shares of the selected tokens that become the mask token, and another piece.
        seed: None: other masks in every run.
        whole_word_masking: words are selected whole, as many as fit into the rate.

    Raises:
        InputError: for rates outside 0 to 1, no slots, labels beside the text (it makes its own).

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.1, "Masked LM".

    Example:

        >>> preprocessor = models.MaskedLMPreprocessor.from_preset("tiny/preset", sequence_length=10, seed=7)
        >>> x, y, sample_weight = preprocessor(["The quick brown fox jumped.", "A dog."])
        >>> x["padding_mask"].numpy().tolist()
        [[1, 1, 1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]]
        >>> sample_weight.numpy().tolist()
        [[1.0, 0.0], [1.0, 0.0]]
    """

    kind = "masked_lm_preprocessor"
    # Roles of special tokens that are never masked. KerasHub lets [UNK] be masked, so it is.
    unselectable_roles: ClassVar[tuple[str, ...]] = ("start_token", "end_token", "pad_token", "mask_token")

    def __init__(
        self,
        tokenizer: Tokenizer,
        sequence_length: int = 512,
        truncate: str = "round_robin",
        mask_selection_rate: float = 0.15,
        mask_selection_length: int | None = None,
        mask_token_rate: float = 0.8,
        random_token_rate: float = 0.1,
        seed: int | None = None,
        whole_word_masking: bool = False,
    ) -> None:
        super().__init__(tokenizer, sequence_length, truncate)
        if mask_selection_length is not None and mask_selection_length < 1:
            raise InputError(f"mask_selection_length must be at least 1, got {mask_selection_length}")
        self.mask_selection_rate = mask_selection_rate
        self._mask_selection_length = mask_selection_length
        self.mask_token_rate = mask_token_rate
        self.random_token_rate = random_token_rate
        self.seed = seed
        self.whole_word_masking = whole_word_masking
        self._checked_rates()

    @property
    def mask_selection_length(self) -> int:
        """Prediction slots of a row."""
        return self._mask_selection_length or num_predictions(self.sequence_length, self.mask_selection_rate)

    def _checked_rates(self) -> None:
        MaskingRule(0, 1, (), self.mask_selection_rate, self.mask_token_rate, self.random_token_rate)

    @property
    def masker(self) -> MaskedLMMaskGenerator:
        """What masks rows of ids as the preprocessor does, as a layer of its own."""
        options = self.masking_options()
        return MaskedLMMaskGenerator(
            options.vocabulary_size,
            self.mask_selection_rate,
            options.mask_token_id,
            mask_selection_length=self.mask_selection_length,
            unselectable_token_ids=list(options.unselectable_token_ids or ()),
            mask_token_rate=self.mask_token_rate,
            random_token_rate=self.random_token_rate,
        )

    def masking_options(self) -> MaskingRule:
        """The settings as `mask_rows` takes them."""
        tokenizer = self.tokenizer
        names = tokenizer.special_token_names
        special = tuple(sorted({tokenizer.token_to_id(piece) for piece in names.values()}))
        unselectable = {tokenizer.token_to_id(names[role]) for role in self.unselectable_roles}
        return MaskingRule(
            mask_token_id=tokenizer.mask_token_id,
            vocabulary_size=tokenizer.vocabulary_size(),
            special_token_ids=special,
            mask_selection_rate=self.mask_selection_rate,
            mask_token_rate=self.mask_token_rate,
            random_token_rate=self.random_token_rate,
            seed=self.seed or 0,
            unselectable_token_ids=tuple(sorted(unselectable)),
            num_slots=self.mask_selection_length,
            strategy="whole_word" if self.whole_word_masking else "token",
            word_starts=tokenizer.word_starts() if self.whole_word_masking else None,
        )

    def fresh_draw(self) -> "tf.Tensor | None":
        import tensorflow as tf

        if self.seed is not None:
            return tf.constant(0, tf.int64)
        return tf.random.uniform([], 0, 2**31, tf.int64)

    def preprocess(self, x: object, y: object, sample_weight: object, draw: "tf.Tensor | None") -> Preprocessed:
        import tensorflow as tf

        from clozekit.model.common.hashing import hash_rows
        from clozekit.model.masking.mask_rows import mask_rows

        if y is not None and tf.convert_to_tensor(y).dtype == tf.string:
            raise InputError(
                "a masked-LM preprocessor makes its own labels, got a second argument of strings;"
                " pass sentence pairs as one tuple: preprocessor((first, second))"
            )
        rows, is_batch = self.rows(x)
        masked = mask_rows(rows["token_ids"], hash_rows(rows["token_ids"]), draw, self.masking_options())
        # The order of KerasHub's outputs; segments stay what they were.
        inputs = self.named_inputs({**rows, "token_ids": masked["token_ids"]})
        inputs["mask_positions"] = masked["mask_positions"]
        outputs = (inputs, masked["mask_ids"], masked["mask_weights"])
        return outputs if is_batch else tf.nest.map_structure(lambda part: part[0], outputs)

    def keras_hub_config(self) -> Settings:
        return {
            **super().keras_hub_config(),
            "mask_selection_rate": self.mask_selection_rate,
            "mask_selection_length": self.mask_selection_length,
            "mask_token_rate": self.mask_token_rate,
            "random_token_rate": self.random_token_rate,
        }

    def own_options(self) -> Settings:
        own: Settings = {}
        if self._mask_selection_length is None:
            own["mask_selection_length"] = None
        if self.seed is not None:
            own["seed"] = self.seed
        if self.whole_word_masking:
            own["whole_word_masking"] = True
        return own

    def check_fits(self, vocabulary_size: int, max_sequence_length: int) -> None:
        super().check_fits(vocabulary_size, max_sequence_length)
        tokenizer = self.tokenizer
        ordinary = tokenizer.vocabulary_size() - len(set(map(tokenizer.token_to_id, tokenizer.special_tokens)))
        if ordinary < 1 and self.random_token_rate > 0:
            raise InputError("random replacements need pieces that are no special tokens, the vocabulary has none")
