"""The built-in presets: their ids, where Kaggle keeps them, the shape of their backbones."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class BuiltinPreset:
    """One published backbone. `parameters` is the exact count; `config` holds the arguments of the backbone's class."""

    name: str
    family: str
    handle: str
    parameters: int
    description: str
    config: dict[str, Any]


def _encoder(
    vocabulary_size: int, layers: int, heads: int, hidden: int, intermediate: int, dropout: float
) -> dict[str, Any]:
    return {
        "vocabulary_size": vocabulary_size,
        "num_layers": layers,
        "num_heads": heads,
        "hidden_dim": hidden,
        "intermediate_dim": intermediate,
        "dropout": dropout,
        # KerasHub's RoBERTa has 512 rows of positions too: it leaves out the two that fairseq never used.
        "max_sequence_length": 512,
    }


# Layers, heads, hidden and intermediate width of the sizes that BERT's papers name.
_TINY = (2, 2, 128, 512)
_SMALL = (4, 8, 512, 2048)
_MEDIUM = (8, 8, 512, 2048)
_HALF_BASE = (6, 12, 768, 3072)
_BASE = (12, 12, 768, 3072)
_LARGE = (24, 16, 1024, 4096)
_EXTRA_LARGE = (24, 16, 2048, 8192)
_EXTRA_EXTRA_LARGE = (12, 64, 4096, 16384)
_NARROW_BASE = (12, 6, 384, 1536)
_ELECTRA_SMALL = (12, 4, 256, 1024)
_ELECTRA_LARGE_GENERATOR = (24, 4, 256, 1024)

_WIKIPEDIA_AND_BOOKS = "English Wikipedia and BooksCorpus"


def _bert(
    name: str, version: int, parameters: int, vocabulary_size: int, size: tuple[int, int, int, int], text: str
) -> BuiltinPreset:
    config = {**_encoder(vocabulary_size, *size, dropout=0.1), "num_segments": 2}
    return BuiltinPreset(name, "bert", f"kaggle://keras/bert/keras/{name}/{version}", parameters, text, config)


def _distil_bert(name: str, parameters: int, vocabulary_size: int, text: str) -> BuiltinPreset:
    config = _encoder(vocabulary_size, *_HALF_BASE, dropout=0.1)
    handle = f"kaggle://keras/distil_bert/keras/{name}/2"
    return BuiltinPreset(name, "distil_bert", handle, parameters, f"DistilBERT with 6 layers, {text}.", config)


def _roberta(name: str, parameters: int, size: tuple[int, int, int, int], text: str) -> BuiltinPreset:
    family, vocabulary_size = ("xlm_roberta", 250002) if name.startswith("xlm") else ("roberta", 50265)
    config = _encoder(vocabulary_size, *size, dropout=0.1)
    return BuiltinPreset(name, family, f"kaggle://keras/{family}/keras/{name}/3", parameters, text, config)


def _albert(name: str, version: int, parameters: int, size: tuple[int, int, int, int]) -> BuiltinPreset:
    config = _encoder(30000, *size, dropout=0.0)
    config |= {"embedding_dim": 128, "num_groups": 1, "num_inner_repetitions": 1, "num_segments": 2}
    text = f"ALBERT, {size[0]} passes through one layer, lowercased; {_WIKIPEDIA_AND_BOOKS}."
    return BuiltinPreset(name, "albert", f"kaggle://keras/albert/keras/{name}/{version}", parameters, text, config)


def _electra(name: str, parameters: int, size: tuple[int, int, int, int], embedding_dim: int) -> BuiltinPreset:
    config = {**_encoder(30522, *size, dropout=0.1), "embedding_dim": embedding_dim, "num_segments": 2}
    part = "generator" if "generator" in name else "discriminator"
    text = f"ELECTRA's {part} with {size[0]} layers, lowercased; {_WIKIPEDIA_AND_BOOKS}."
    return BuiltinPreset(name, "electra", f"kaggle://keras/electra/keras/{name}/2", parameters, text, config)


def _deberta_v3(name: str, parameters: int, size: tuple[int, int, int, int]) -> BuiltinPreset:
    vocabulary_size, corpus = (251000, "CC100") if name.endswith("multi") else (128100, "English text, as RoBERTa's")
    config = {**_encoder(vocabulary_size, *size, dropout=0.1), "bucket_size": 256}
    text = f"DeBERTa V3 with {size[0]} layers, cased; {corpus}."
    return BuiltinPreset(name, "deberta_v3", f"kaggle://keras/deberta_v3/keras/{name}/3", parameters, text, config)


def _uncased(layers: int) -> str:
    return f"BERT with {layers} layers, lowercased; {_WIKIPEDIA_AND_BOOKS}."


def _cased(layers: int) -> str:
    return f"BERT with {layers} layers, cased; {_WIKIPEDIA_AND_BOOKS}."


_PRESETS = (
    _bert("bert_tiny_en_uncased", 3, 4385920, 30522, _TINY, _uncased(2)),
    _bert("bert_small_en_uncased", 3, 28763648, 30522, _SMALL, _uncased(4)),
    _bert("bert_medium_en_uncased", 3, 41373184, 30522, _MEDIUM, _uncased(8)),
    _bert("bert_base_en_uncased", 3, 109482240, 30522, _BASE, _uncased(12)),
    _bert("bert_base_en", 3, 108310272, 28996, _BASE, _cased(12)),
    _bert("bert_base_zh", 3, 102267648, 21128, _BASE, "BERT with 12 layers; Chinese Wikipedia."),
    _bert("bert_base_multi", 3, 177853440, 119547, _BASE, "BERT with 12 layers, cased; Wikipedias in 104 languages."),
    _bert("bert_large_en_uncased", 3, 335141888, 30522, _LARGE, _uncased(24)),
    _bert("bert_large_en", 3, 333579264, 28996, _LARGE, _cased(24)),
    _bert("bert_tiny_en_uncased_sst2", 5, 4385920, 30522, _TINY, "bert_tiny_en_uncased tuned to sentiment on SST-2."),
    _distil_bert("distil_bert_base_en_uncased", 66362880, 30522, f"lowercased; {_WIKIPEDIA_AND_BOOKS}"),
    _distil_bert("distil_bert_base_en", 65190912, 28996, f"cased; {_WIKIPEDIA_AND_BOOKS}"),
    _distil_bert("distil_bert_base_multi", 134734080, 119547, "cased; Wikipedias in 104 languages"),
    _roberta("roberta_base_en", 124052736, _BASE, "RoBERTa with 12 layers, cased; books, news and web in English."),
    _roberta("roberta_large_en", 354307072, _LARGE, "RoBERTa with 24 layers, cased; books, news and web in English."),
    _roberta("xlm_roberta_base_multi", 277450752, _BASE, "XLM-RoBERTa with 12 layers; CommonCrawl in 100 languages."),
    _roberta("xlm_roberta_large_multi", 558837760, _LARGE, "XLM-RoBERTa with 24 layers; CommonCrawl in 100 languages."),
    _albert("albert_base_en_uncased", 5, 11683584, _BASE),
    _albert("albert_large_en_uncased", 3, 17683968, _LARGE),
    _albert("albert_extra_large_en_uncased", 3, 58724864, _EXTRA_LARGE),
    _albert("albert_extra_extra_large_en_uncased", 3, 222595584, _EXTRA_EXTRA_LARGE),
    _electra("electra_small_discriminator_uncased_en", 13548800, _ELECTRA_SMALL, 128),
    _electra("electra_small_generator_uncased_en", 13548800, _ELECTRA_SMALL, 128),
    _electra("electra_base_discriminator_uncased_en", 109482240, _BASE, 768),
    _electra("electra_base_generator_uncased_en", 33576960, _ELECTRA_SMALL, 768),
    _electra("electra_large_discriminator_uncased_en", 335141888, _LARGE, 1024),
    _electra("electra_large_generator_uncased_en", 51065344, _ELECTRA_LARGE_GENERATOR, 1024),
    _deberta_v3("deberta_v3_extra_small_en", 70682112, _NARROW_BASE),
    _deberta_v3("deberta_v3_small_en", 141304320, _HALF_BASE),
    _deberta_v3("deberta_v3_base_en", 183831552, _BASE),
    _deberta_v3("deberta_v3_large_en", 434012160, _LARGE),
    _deberta_v3("deberta_v3_base_multi", 278218752, _BASE),
)

BUILTIN_PRESETS = MappingProxyType({preset.name: preset for preset in _PRESETS})


def presets_of(families: Iterable[str]) -> dict[str, BuiltinPreset]:
    """Id -> preset of those families, in the order of the tables."""
    wanted = set(families)
    return {name: preset for name, preset in BUILTIN_PRESETS.items() if preset.family in wanted}
