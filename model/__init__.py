"""The public names: backbones, tasks, preprocessors, tokenizers and presets, as in the documents of KerasHub."""

import clozekit.tokenizers.quiet_tensorflow  # noqa: F401  # isort: skip
from clozekit.model.albert import (
    AlbertBackbone,
    AlbertMaskedLM,
    AlbertMaskedLMPreprocessor,
    AlbertTextClassifier,
    AlbertTextClassifierPreprocessor,
)
from clozekit.model.backbone import Backbone
from clozekit.model.bert import (
    BertBackbone,
    BertMaskedLM,
    BertMaskedLMPreprocessor,
    BertTextClassifier,
    BertTextClassifierPreprocessor,
)
from clozekit.model.huggingface import save_huggingface
from clozekit.model.masked_lm import MaskedLM
from clozekit.model.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessor import Preprocessor
from clozekit.model.roberta import (
    RobertaBackbone,
    RobertaMaskedLM,
    RobertaMaskedLMPreprocessor,
    RobertaTextClassifier,
    RobertaTextClassifierPreprocessor,
)
from clozekit.model.task import Task
from clozekit.model.text_classifier import TextClassifier
from clozekit.model.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.xlm_roberta import (
    XLMRobertaBackbone,
    XLMRobertaMaskedLM,
    XLMRobertaMaskedLMPreprocessor,
    XLMRobertaTextClassifier,
    XLMRobertaTextClassifierPreprocessor,
)
from clozekit.tokenizers.families import AlbertTokenizer, BertTokenizer, RobertaTokenizer, XLMRobertaTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

__all__ = [
    "AlbertBackbone",
    "AlbertMaskedLM",
    "AlbertMaskedLMPreprocessor",
    "AlbertTextClassifier",
    "AlbertTextClassifierPreprocessor",
    "AlbertTokenizer",
    "Backbone",
    "BertBackbone",
    "BertMaskedLM",
    "BertMaskedLMPreprocessor",
    "BertTextClassifier",
    "BertTextClassifierPreprocessor",
    "BertTokenizer",
    "MaskedLM",
    "MaskedLMPreprocessor",
    "Preprocessor",
    "RobertaBackbone",
    "RobertaMaskedLM",
    "RobertaMaskedLMPreprocessor",
    "RobertaTextClassifier",
    "RobertaTextClassifierPreprocessor",
    "RobertaTokenizer",
    "Task",
    "TextClassifier",
    "TextClassifierPreprocessor",
    "Tokenizer",
    "XLMRobertaBackbone",
    "XLMRobertaMaskedLM",
    "XLMRobertaMaskedLMPreprocessor",
    "XLMRobertaTextClassifier",
    "XLMRobertaTextClassifierPreprocessor",
    "XLMRobertaTokenizer",
    "save_huggingface",
]
