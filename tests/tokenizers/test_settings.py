"""Settings from YAML and changes: each kind of value, what passes for another, and the line that names a wrong key."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.settings import apply_changes, check, make_settings


@dataclass(frozen=True)
class Part:
    size: int = 1
    rate: float | None = None


@dataclass(frozen=True)
class Whole:
    name: str
    on: bool = False
    part: Part = Part()
    other: Part | None = None
    files: tuple[str | int, ...] = ()
    parts: tuple[Part, ...] = ()
    bounds: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ("name=x", "name", "x"),
        ("on=true", "on", True),
        ("part.size=3", "part", Part(3)),
        ("part.rate=1e-3", "part", Part(1, 0.001)),
        ("part={rate: 2}", "part", Part(1, 2.0)),
        ("other.size=3", "other", Part(3)),
        ("other=null", "other", None),
        ("files=[a, 5]", "files", ("a", 5)),
        ("parts=[{size: 2}, {rate: 0.5}]", "parts", (Part(2), Part(1, 0.5))),
        ("bounds={words: [3, null]}", "bounds", {"words": (3.0, None)}),
        ("variables={A: 1, B: 0.5, C: x}", "variables", {"A": "1", "B": "0.5", "C": "x"}),
    ],
)
def test_values_are_of_their_types(change: str, name: str, value: object) -> None:
    fields = {"name": "n"}
    apply_changes(fields, [change])
    made = getattr(make_settings(Whole, fields, "settings.yaml"), name)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nam=x", "settings.yaml has nam; did you mean name?"),
        ("part.sise=3", "settings.yaml has part.sise; did you mean part.size?"),
        ("size=3", "settings.yaml has size; did you mean part.size?"),
        ("parts=[{sizes: 3}]", "settings.yaml has parts.sizes; did you mean parts.size?"),
        ("other.zzz=3", "settings.yaml has other.zzz; the keys there are size, rate"),
        ("name=5", "name must be str, settings.yaml has 5; put it in quotes"),
        ("name=null", "name must be str, settings.yaml has None"),
        ("on=1", "on must be bool, settings.yaml has 1"),
        ("part.size=true", "part.size must be int, settings.yaml has True"),
        ("part.rate=high", "part.rate must be float or nothing, settings.yaml has 'high'"),
        ("part=5", "part must be a group of keys, got 5"),
        ("name.x=5", "name must be a group of keys, got 'n'"),
        ("files=a", "files must be a list, got 'a'; put it in [brackets]"),
        ("files=[[a]]", "files must be str or int, settings.yaml has ['a']"),
        ("bounds=3", "bounds must be a mapping, got 3"),
        ("bounds={words: 3}", "bounds.words must be a list of 2, null for nothing, got 3"),
        ("bounds={words: [1, 2, 3]}", "bounds.words must be a list of 2, null for nothing, got [1, 2, 3]"),
        ("variables={A: true}", "variables.A must be str, settings.yaml has True; put it in quotes"),
        ("name", "a change must look like key=value (train.steps=200), got 'name'"),
        ("name=[", "the value of a change must be YAML, got 'name=['"),
    ],
)
def test_what_is_wrong_is_named(change: str, message: str) -> None:
    fields = {"name": "n"}
    with pytest.raises(InputError) as caught:
        apply_changes(fields, [change])
        make_settings(Whole, fields, "settings.yaml")
    assert str(caught.value).removeprefix("every key of a configuration must be known, ") == message


def test_one_value_is_a_list_of_one_where_that_is_wanted() -> None:
    assert make_settings(Whole, {"name": "n", "files": "a"}, "x", one_is_a_list=True).files == ("a",)


def test_a_key_that_is_needed_is_named() -> None:
    with pytest.raises(InputError, match=r"the key name is needed, settings.yaml does not have it; add it"):
        make_settings(Whole, {}, "settings.yaml")


def test_a_rule_that_holds_says_nothing() -> None:
    check("a rule", True, 5)
    with pytest.raises(InputError, match="^a must be a multiple of b, got 3 and 2; change one$"):
        check("a must be a multiple of b", False, 3, 2, advice="change one")
