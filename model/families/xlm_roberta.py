"""XLM-RoBERTa (Conneau et al. 2019, arXiv 1911.02116): RoBERTa's architecture on a SentencePiece vocabulary."""

import dataclasses
from typing import ClassVar

import keras

from clozekit.model.families.family import Family
from clozekit.model.families.roberta import (
    ROBERTA_NAMES,
    RobertaBackbone,
    RobertaMaskedLM,
    RobertaMaskedLMPreprocessor,
    RobertaTextClassifier,
    RobertaTextClassifierPreprocessor,
)
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class XLMRobertaBackbone(RobertaBackbone):
    """RoBERTa's encoder under the name of XLM-RoBERTa."""

    families: ClassVar[tuple[str, ...]] = ("xlm_roberta",)


class XLMRobertaMaskedLMPreprocessor(RobertaMaskedLMPreprocessor):
    """<s> a </s></s> b </s>, then masking."""

    tokenizer_cls: ClassVar[type[Tokenizer]] = XLMRobertaTokenizer
    # KerasHub never masks <unk> in this family alone.
    unselectable_roles = (*RobertaMaskedLMPreprocessor.unselectable_roles, "unk_token")


class XLMRobertaTextClassifierPreprocessor(RobertaTextClassifierPreprocessor):
    """<s> a </s></s> b </s>."""

    tokenizer_cls: ClassVar[type[Tokenizer]] = XLMRobertaTokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class XLMRobertaMaskedLM(RobertaMaskedLM):
    """XLM-RoBERTa with its masked-LM head, tied to the token embedding."""

    backbone_cls = XLMRobertaBackbone
    preprocessor_cls = XLMRobertaMaskedLMPreprocessor


@keras.saving.register_keras_serializable(package="clozekit")
class XLMRobertaTextClassifier(RobertaTextClassifier):
    """XLM-RoBERTa with a pooler of its own and a dense layer on the first token."""

    backbone_cls = XLMRobertaBackbone
    preprocessor_cls = XLMRobertaTextClassifierPreprocessor


FAMILY = Family(
    "xlm_roberta",
    XLMRobertaTokenizer,
    XLMRobertaBackbone,
    XLMRobertaMaskedLM,
    XLMRobertaTextClassifier,
    XLMRobertaMaskedLMPreprocessor,
    XLMRobertaTextClassifierPreprocessor,
    dataclasses.replace(ROBERTA_NAMES, model_type="xlm-roberta"),
)
