"""Small changes to the files of Hugging Face's tokenizers: refused by name, or the ids are those that transformers gives.

Needs the extra `parity`.
"""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzzing import dice_of_cases

transformers = pytest.importorskip("transformers")

from foreign_tokenizers import FAMILIES, NASTY, SPACES, write_files  # noqa: E402

from clozekit.tokenizers.common.errors import InputError  # noqa: E402
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer  # noqa: E402
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer  # noqa: E402
from clozekit.tokenizers.tokenizer import Tokenizer  # noqa: E402

CONTENTS = [
    "<new>",
    "new",
    "NEW",
    "é",
    "É",
    " sp",
    "ab",
    "[ENT]",
    "##b",
    "▁a",
    "Ġa",
    "中",
    "a b",
    "</s>x",
    "ﬁ",
    "_x",
    "<mask>s",
]
SETTINGS: dict[str, list[Any]] = {
    "do_lower_case": [True, False],
    "strip_accents": [True, False, None],
    "tokenize_chinese_chars": [True, False],
    "keep_accents": [True, False],
    "add_prefix_space": [True, False],
    "tokenizer_class": ["PreTrainedTokenizerFast", "TokenizersBackend"],
    "additional_special_tokens": [["<extra>"], ["<extra>", "new"], []],
    "extra_special_tokens": [["<more>"], {"image_token": "<image>"}],
    "model_specific_special_tokens": [{"image_token": "<picture>"}, {}],
    "image_token": ["<image>"],
    "split_special_tokens": [True, False],
    "bos_token": ["[BOS]", "<s>"],
    "clean_up_tokenization_spaces": [True],
    "model_max_length": [7],
    "legacy": [False],
    "add_bos_token": [True],
    "never_split": [["a"]],
    "do_basic_tokenize": [False],
}


def flags(dice: random.Random) -> dict[str, bool]:
    return {flag: dice.random() < 0.35 for flag in ("single_word", "lstrip", "rstrip", "normalized", "special")}


def add_token(files: dict[str, Any], dice: random.Random) -> None:
    """One more token, in tokenizer.json, in the settings, or in both."""
    described, settings = files["tokenizer.json"], files["tokenizer_config.json"]
    vocabulary = described["model"]["vocab"]
    own = vocabulary if isinstance(vocabulary, dict) else {piece: place for place, (piece, _) in enumerate(vocabulary)}
    content = dice.choice(CONTENTS)
    ids = [*own.values(), *(token["id"] for token in described["added_tokens"])]
    row = {"id": own.get(content, max(ids) + 1), "content": content, **flags(dice)}
    if any(token["content"] == content for token in described["added_tokens"]):
        return
    where = dice.randrange(3)
    if where != 1:
        described["added_tokens"].append(row)
    if where != 0 and "added_tokens_decoder" in settings:
        settings["added_tokens_decoder"][str(row["id"])] = {key: value for key, value in row.items() if key != "id"}


def change_flags(files: dict[str, Any], dice: random.Random) -> None:
    token = dice.choice(files["tokenizer.json"]["added_tokens"])
    flag = dice.choice(("single_word", "lstrip", "rstrip", "normalized"))
    token[flag] = not token[flag]
    decoder = files["tokenizer_config.json"].get("added_tokens_decoder", {})
    if str(token["id"]) in decoder and dice.random() < 0.5:
        decoder[str(token["id"])][flag] = token[flag]


def change_setting(files: dict[str, Any], dice: random.Random) -> None:
    key = dice.choice(list(SETTINGS))
    files["tokenizer_config.json"][key] = copy.deepcopy(dice.choice(SETTINGS[key]))


def add_map(files: dict[str, Any], dice: random.Random) -> None:
    """special_tokens_map.json, as versions before 5 wrote it."""
    rows = {"mask_token": "<mask>", "additional_special_tokens": ["new", "<extra>"], "extra_special_tokens": ["<more>"]}
    rows |= {"extra_special_tokens ": {"image_token": "<image>"}, "image_token": "<image>", "bos_token": "[BOS]"}
    chosen = dice.sample(list(rows), dice.randint(1, 3))
    files["special_tokens_map.json"] = {key.strip(): rows[key] for key in chosen}


def forget_setting(files: dict[str, Any], dice: random.Random) -> None:
    settings = files["tokenizer_config.json"]
    settings.pop(dice.choice(list(settings)), None)


def swap_pieces(files: dict[str, Any], dice: random.Random) -> None:
    """Two pieces change their ids, special tokens too."""
    model = files["tokenizer.json"]["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        a, b = dice.sample(list(vocabulary), 2)
        vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
        ids = vocabulary
    else:
        a, b = dice.sample(range(len(vocabulary)), 2)
        vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
        ids = {piece: place for place, (piece, _) in enumerate(vocabulary)}
        model["unk_id"] = ids["<unk>" if "<unk>" in ids else "[UNK]"]
    decoder = files["tokenizer_config.json"].get("added_tokens_decoder")
    for token in files["tokenizer.json"]["added_tokens"]:
        old = str(token["id"])
        token["id"] = ids.get(token["content"], token["id"])
        if decoder is not None and old in decoder and decoder[old]["content"] == token["content"]:
            row = decoder.pop(old)
            decoder[f"{token['id']} "] = row
    if decoder is not None:
        for key in list(decoder):
            decoder[key.strip()] = decoder.pop(key)


def change_step(files: dict[str, Any], dice: random.Random) -> None:
    """One value of the description is turned, removed or replaced."""
    described = files["tokenizer.json"]
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if key in ("vocab", "merges", "added_tokens", "precompiled_charsmap", "version"):
                continue
            places.append((value, key))
            if isinstance(inner, dict | list):
                walk(inner)

    walk(described)
    holder, key = dice.choice(places)
    if holder is described and key in ("model", "added_tokens"):
        return
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif dice.random() < 0.4 and isinstance(holder, dict):
        holder[key] = dice.choice([None, 0, 1, 5, True, "", "##", "▁", "never", "<unk>", {"type": "WhitespaceSplit"}])
    elif isinstance(holder, list) or holder is not described and holder.get("type") not in ("Unigram",):
        del holder[key]


CHANGES: list[Callable[[dict[str, Any], random.Random], None]] = [
    add_token, add_token, add_map, change_flags, change_setting, forget_setting, swap_pieces, change_step,
]  # fmt: skip


def can_be_written(tokenizer: Tokenizer, directory: Path) -> bool:
    directory.mkdir()
    try:
        write_huggingface_tokenizer(tokenizer, directory, 512)
    except InputError as error:
        assert "\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize("family", FAMILIES)
def test_fuzz_what_is_taken_gives_their_ids(family: str, tmp_path: Path) -> None:
    taken = refused = unreadable = written = 0
    for number, dice in dice_of_cases(40):
        files = FAMILIES[family]()
        for _ in range(dice.randint(1, 3)):
            dice.choice(CHANGES)(files, dice)
        directory = tmp_path / str(number)
        write_files(directory, files)
        try:
            ours = load_tokenizer(directory)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        try:
            theirs = transformers.AutoTokenizer.from_pretrained(directory)
        except Exception:
            # What their library can't read has no ids there to compare with: parts that are of no matter here.
            unreadable += 1
            continue
        taken += 1
        texts = [*NASTY, *(f"{text}{dice.choice(CONTENTS)}{dice.choice(NASTY)}" for text in dice.sample(NASTY, 12))]
        if family == "deberta_v3_composed":
            texts += SPACES
        if family == "deberta_v3":
            # transformers takes white space from the ends before the rules of the model, the model behind them: what the
            # rules first make a space, or bare, is a piece there.
            texts = [text for text in texts if not {"\x1c", "\u200b"} & {*text}]
        expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
        got = [ours.encode_batch([text], special_tokens_in_strings=True).token_ids.tolist() for text in texts]
        different = [(text, b, a) for text, a, b in zip(texts, expected, got, strict=True) if a != b]
        assert not different, (number, different[:3], json.dumps(files)[:1500])
        assert len(theirs) == ours.vocabulary_size(), number
        if can_be_written(ours, directory / "back"):
            back = transformers.AutoTokenizer.from_pretrained(directory / "back")
            assert [back(text, add_special_tokens=False)["input_ids"] for text in texts] == expected, number
            returned = load_tokenizer(directory / "back")
            assert returned.get_vocabulary() == ours.get_vocabulary(), number
            again = [returned.encode_batch([text], special_tokens_in_strings=True).token_ids.tolist() for text in texts]
            assert again == expected, number
            written += 1
        ours.save(directory / "ours")
        again = load_tokenizer(directory / "ours")
        assert again.sha256() == ours.sha256()
        flat = ours.encode_batch(texts)
        assert again.encode_batch(texts).token_ids.tolist() == flat.token_ids.tolist()
    assert taken > 3 and refused and taken > unreadable and written > taken / 2
