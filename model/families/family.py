"""The record of a family: its classes, and what Hugging Face calls its settings and weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from clozekit.model.common.tensors import Settings
from clozekit.model.layers.gated_encoder import GatedEncoder
from clozekit.model.layers.transformer_layers import TransformerEncoder
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.tokenizers.tokenizer import Tokenizer

# Our constructor argument of a backbone -> the key of config.json, and what a config.json that leaves it out means: the
# defaults of transformers' classes, which are not the papers'.
SETTINGS: Mapping[str, str] = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "max_sequence_length": "max_position_embeddings",
    "activation": "hidden_act",
    "layer_norm_epsilon": "layer_norm_eps",
}
DEFAULTS: Settings = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
# Parts of an encoder block -> the names of their tensors, below the block's own name.
BLOCK: Mapping[str, str] = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "norm": "output.LayerNorm",
}


NORMS: Mapping[str, str] = {"embeddings_layer_norm": "embeddings.LayerNorm"}
# A block of an encoder.
Block = TransformerEncoder | GatedEncoder


DETECTOR = {"dense": "discriminator_predictions.dense", "output_dense": "discriminator_predictions.dense_prediction"}


def numbered(name: str) -> Callable[[Backbone], list[tuple[str, Block]]]:
    """backbone -> (name of a block, block), the blocks of `transformer_layers` counted from 0 behind `name`."""
    return lambda backbone: [(f"{name}.{index}", layer) for index, layer in enumerate(backbone.transformer_layers)]


@dataclass(frozen=True)
class HuggingFaceNames:
    """What Hugging Face calls the settings and tensors of a family.

    Names of tensors are below `body`, the heads' are whole.

    Args:
        model_type: of config.json.
        class_prefix: of the names of its classes there; None: as here.
        body: what the names of the body's tensors begin with in a model with a head.
        head_dense, head_norm, head_bias, decoder: tensors of the masked-LM head.
        head_elsewhere: how names of its tensors begin -> how they begin in other checkpoints, of the same layers.
        classifier: attribute of the text classifier -> name.
        blocks, block: names of the blocks of a backbone, and of a block's parts; parts of one name are equal parts of one tensor,
            one below the other.
        tokens, norms: the table of tokens, and attribute of the backbone -> name, of its normalisations.
        tables: attribute of the backbone -> name, of layers with another table of embeddings.
        dense_parts: attribute of the backbone -> name, of dense layers besides.
        pooler: the dense layer on the first token; None: there is none, whatever the backbone has.
        settings, defaults: as SETTINGS and DEFAULTS.
        more_settings: (config.json, settings so far, where it stands) -> settings that are no key there, or InputError for what
            the family can't be.
        more_keys: the other way round: a backbone's settings -> keys.
        fixed: our settings that have no key there, and what they are.
        segments: "own" has a table of segments; "folded" a table of one row, which stands in our positions; "none" has none.
        positions_after_padding: positions count from the id of the padding token on.
        head_activation: of the masked-LM head; None: the body's, or that of its setting of this name.
        decoder_bias: the key that says whether the masked-LM head has its bias; None: it always has.
        classifier_dropout, default_classifier_dropout: the key of the classifier's rate, and what it is when left out.
        output_dropout: the key of the rate before the classifier's last layer, where that has one of its own.
        classifier_pooling: the key of what a classifier sees; None: the family has one way.
        pair_head, pair_dropout: the last layer of the head of sentence pairs, and the key of its rate; None: there is none.
        has_detector: whether there is a class of discriminators. Of other families it is written as the bare model, with tensors
            besides that transformers passes over.
        detector: part of a discriminator's head -> name: ELECTRA's there, and ours in families that transformers has none of.
        answers, answer_dropout, default_answer_dropout: the last layer of question answering, and the key of its rate.
        written: keys of config.json that are always the same.

    Example:

        >>> from clozekit.model.families.family import HuggingFaceNames
        >>> from clozekit.model.families.roberta import FAMILY
        >>> isinstance(FAMILY.huggingface, HuggingFaceNames), FAMILY.huggingface.head_dense
        (True, 'lm_head.dense')
    """

    model_type: str
    body: str
    head_dense: str
    head_norm: str
    head_bias: str
    decoder: str
    classifier: Mapping[str, str]
    class_prefix: str | None = None
    head_elsewhere: Mapping[str, str] = field(default_factory=dict)
    blocks: Callable[[Backbone], list[tuple[str, Block]]] = numbered("encoder.layer")
    block: Mapping[str, str] = field(default_factory=lambda: BLOCK)
    tokens: str = "embeddings.word_embeddings"
    norms: Mapping[str, str] = field(default_factory=lambda: NORMS)
    tables: Mapping[str, str] = field(default_factory=dict)
    dense_parts: Mapping[str, str] = field(default_factory=dict)
    pooler: str | None = "pooler.dense"
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)
    defaults: Settings = field(default_factory=lambda: DEFAULTS)
    more_settings: Callable[[Settings, Settings, str], Settings] = lambda config, settings, source: {}
    more_keys: Callable[[Settings], Settings] = lambda settings: {}
    fixed: Settings = field(default_factory=dict)
    segments: Literal["own", "folded", "none"] = "own"
    positions_after_padding: bool = False
    head_activation: str | None = None
    decoder_bias: str | None = None
    classifier_dropout: str = "classifier_dropout"
    default_classifier_dropout: float | None = None
    output_dropout: str | None = None
    classifier_pooling: str | None = None
    pair_head: str | None = None
    pair_dropout: str | None = None
    has_detector: bool = False
    detector: Mapping[str, str] = field(default_factory=lambda: DETECTOR)
    answers: str = "qa_outputs"
    answer_dropout: str | None = None
    default_answer_dropout: float = 0.0
    written: Settings = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """A family's name and its classes; the attributes are named after the `kind` of the classes.

    Args:
        name: a key of FAMILIES (tokenizers/common/family_names.py).
        tokenizer, backbone, masked_lm, text_classifier, masked_lm_preprocessor, text_classifier_preprocessor: the classes.
        huggingface: what Hugging Face calls its settings and tensors.

    Example:

        >>> from clozekit.model.families.bert import FAMILY
        >>> from clozekit.model.families.family import Family
        >>> isinstance(FAMILY, Family), FAMILY.name, FAMILY.masked_lm.__name__
        (True, 'bert', 'BertMaskedLM')
    """

    name: str
    tokenizer: type[Tokenizer]
    backbone: type[Backbone]
    masked_lm: type[MaskedLM]
    text_classifier: type[TextClassifier]
    masked_lm_preprocessor: type[MaskedLMPreprocessor]
    text_classifier_preprocessor: type[TextClassifierPreprocessor]
    huggingface: HuggingFaceNames
