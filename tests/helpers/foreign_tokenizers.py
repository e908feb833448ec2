"""Tiny tokenizers of the families, as the files that transformers writes, and texts on which tokenizers differ."""

import copy
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken

NASTY = [
    "",
    " ",
    "a",
    "ab ba",
    "A new NEW New day",
    "the É é e\u0301 E\u0301 day",
    "<new>new<new> <new>",
    " <mask> a<mask>b <mask>",
    "a <s>b</s> [MASK]a [MASK] [CLS]x[SEP] <pad>[PAD]<unk>[UNK]",
    "[mask] [ent] [ENT]ab a[ENT] ent",
    "中文ab中",
    "x _x x_x ab_ ab² ab\u200dab",
    "tab\tnew\nline \x1c<mask>\u00a0<new>\u3000ab",
    "ﬁ ＮＥＷ ½ ①",
    "##b ▁a Ġa  sp a  b",
    "<extra>a<more> <image> [BOS]a",
    "newnew anew news new's <new",
    "\u200bnew\u200b \ufeffab \x00 b",
]
# White space, and what stands for it in pieces, as only a model without rules tells them apart.
SPACES = [
    "▁",
    " ▁ ",
    "▁a▁ b ▁ ▁▁ab\u2003a \u2003 b\u2003",
    "\u0085a\u2003\u2002b \x0b",
    "a\x0bb\u3000new\r\n new ",
]
WORDS = [
    "the new day",
    "a b ab ba abba",
    "news of the day",
    "é ent É",
    "中 文",
    "<>[]_s'²½",
    "xyz MASK CLS SEP PAD UNK",
    *"abcdefghijklmnopqrstuvwxyz",
]


def write_files(directory: Path, files: dict[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            (directory / name).write_bytes(content)
        else:
            (directory / name).write_text(json.dumps(content), encoding="utf-8")


def _saved(tokenizer: Any, model_type: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*.json")}
    return {**files, "config.json": {"model_type": model_type}}


@functools.cache
def _bert() -> dict[str, Any]:
    letters = sorted(set("".join(WORDS)) | set("".join(WORDS).upper()) - {" "})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces = list(dict.fromkeys([*(piece for piece in pieces if piece != " "), "new", "day", "##ew", "ab", "##ba"]))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return _saved(transformers.BertTokenizer(vocab=vocabulary), "bert")


@functools.cache
def _roberta() -> dict[str, Any]:
    from tokenizers.pre_tokenizers import ByteLevel

    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "ab", "Ġa", "ne", "new", "Ġn", "<mask>"]
    merges = [("a", "b"), ("Ġ", "a"), ("n", "e"), ("ne", "w"), ("Ġ", "n")]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    mask = AddedToken("<mask>", lstrip=True, special=True)
    return _saved(transformers.RobertaTokenizer(vocab=vocabulary, merges=merges, mask_token=mask), "roberta")


@functools.cache
def _modern_bert() -> dict[str, Any]:
    """Byte-level BPE of composed text behind runs of spaces, as the published files have it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "Ġa", "ne", "new", "Ġn"]
    merges = [("a", "b"), ("Ġ", "a"), ("n", "e"), ("ne", "w"), ("Ġ", "n")]
    tokenizer = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken("   ", normalized=True), AddedToken("  ", normalized=True)])
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    tokenizer.add_special_tokens([AddedToken(piece, lstrip=piece == "[MASK]") for piece in special.values()])
    ends = [(piece, tokenizer.token_to_id(piece)) for piece in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    return _saved(transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special), "modernbert")


def _rows() -> list[tuple[str, float]]:
    letters = sorted({letter for word in WORDS for letter in word} - {" "})
    pieces = list(dict.fromkeys(["▁", "▁a", "▁new", "ab", "▁the", "ew", *letters]))
    return [(piece, -2.0 - number / 32) for number, piece in enumerate(pieces)]


def _charsmap() -> bytes:
    import sentencepiece

    from clozekit.tokenizers.formats.sentence_piece_proto import read_rules

    normalizer = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")
    return read_rules(normalizer.serialized_model_proto(), "the rules")


@functools.cache
def _albert() -> dict[str, Any]:
    special = [(piece, 0.0) for piece in ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")]
    tokenizer = transformers.AlbertTokenizer([*special, *_rows()], _spm_precompiled_charsmap=_charsmap())
    return _saved(tokenizer, "albert")


@functools.cache
def _deberta_v3() -> dict[str, Any]:
    """As transformers 4 writes it: with the rules of its model, and the mask behind its pieces."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    tokenizer = Tokenizer(models.Unigram([*((piece, 0.0) for piece in special), *_rows()], 3))
    rules = [normalizers.Strip(), normalizers.Precompiled(_charsmap()), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(rules)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False) for piece in (*special, "[MASK]")])
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    roles = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    roles |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    return _saved(transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles), "deberta-v2")


@functools.cache
def _deberta_v3_composed() -> dict[str, Any]:
    """As transformers 5 writes it: without rules; a piece with a space inside is never found."""
    special = [(piece, 0.0) for piece in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    rows = [*special, *_rows(), ("▁▁", -1.0), ("a▁b", -1.0)]
    return _saved(transformers.DebertaV2Tokenizer(vocab=rows), "deberta-v2")


@functools.cache
def _xlm_roberta() -> dict[str, Any]:
    special = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
    rows = [*special, *_rows(), ("<mask>", 0.0)]
    return _saved(transformers.XLMRobertaTokenizer(rows, _spm_precompiled_charsmap=_charsmap()), "xlm-roberta")


@functools.cache
def _xlm_roberta_trained() -> dict[str, Any]:
    """What `train_new_from_iterator` writes: <mask> is the fifth piece, and there are no rules of normalisation."""
    tokenizer = transformers.XLMRobertaTokenizer().train_new_from_iterator(WORDS * 4, 120)
    return _saved(tokenizer, "xlm-roberta")


FAMILIES = {
    name: lambda make=make: copy.deepcopy(make())
    for name, make in (
        ("bert", _bert),
        ("roberta", _roberta),
        ("modern_bert", _modern_bert),
        ("albert", _albert),
        ("xlm_roberta", _xlm_roberta),
        ("deberta_v3", _deberta_v3),
        ("deberta_v3_composed", _deberta_v3_composed),
        ("xlm_roberta_trained", _xlm_roberta_trained),
    )
}
