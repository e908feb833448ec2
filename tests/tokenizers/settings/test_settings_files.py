"""Settings from YAML and changes: each kind of value, what passes for another, and the line that names a wrong key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import apply_changes, check, make_settings, read_mapping


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
        ("part.rate=.nan", "part.rate must be a finite number, got nan"),
        ("part.rate=-.inf", "part.rate must be a finite number, got -inf"),
        ("part.rate=1e999", "part.rate must be a finite number, got inf"),
        ("part={rate: nan}", "part.rate must be a finite number, got nan"),
        ("bounds={words: [.nan, null]}", "bounds must be a finite number, got nan"),
        ("part.rate=-0.5", "part.rate must not be negative, got -0.5"),
        ("part.size=-1", "part.size must not be negative, got -1"),
        (
            "variables={A: 0x" + "f" * 9000 + "}",
            "variables.A must be str, settings.yaml has a very long int; put it in quotes",
        ),
        ("part.size=9223372036854775808", "part.size must be below 2**63, got 9223372036854775808"),
        ('name=""', "name must not be empty, got ''; leave it out for the default"),
        ("name=''", "name must not be empty, got ''; leave it out for the default"),
        ('files=["a", ""]', "files must not be empty, got ''; leave it out for the default"),
        ('name="a\\0b"', "name must be text without a null character, got 'a\\x00b'"),
        ('name="\\ud800"', "name must be text without a null character, got '\\ud800'"),
    ],
)
def test_a_wrong_key_or_value_of_settings_is_named(change: str, message: str) -> None:
    fields = {"name": "n"}
    with pytest.raises(InputError) as caught:
        apply_changes(fields, [change])
        make_settings(Whole, fields, "settings.yaml")
    assert str(caught.value).removeprefix("every key of a configuration must be known, ") == message


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{letter}: &{letter} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, letter in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: 1\nb: 2\na: 3\n", "a key must stand once in its group, a stands twice"),
        (b"part: {size: 1, size: 1}", "a key must stand once in its group, size stands twice"),
        (b"[" * 100_000, "it nests more than 50 deep"),
        (b"{a: " * 60 + b"1" + b"}" * 60, "it nests more than 50 deep"),
        (b"a:\n" + b"".join(b" " * n + b"- \n" for n in range(1, 400)), "it nests more than 50 deep"),
        (LAUGHS.encode(), "it holds more than 100,000 values"),
        (b"a: &a [*a]", "an alias in it stands for itself"),
        (b"a: 2020-13-45", "month must be in 1..12"),
        (b"a: " + b"9" * 5000, "Exceeds the limit"),
        (b"a: !!python/object:os.system x", "could not determine a constructor"),
        (b"? [a]\n: 1\n", "found unhashable key"),
        (b"a: !!int x", "invalid literal"),
        (b"a: 1\n---\nb: 1\n", "expected a single document"),
        (b"a: *b", "found undefined alias"),
        (b"\xff", "invalid start byte"),
        (b"a: \x00", "special characters are not allowed"),
        (b"5", "holds int"),
        (b"", "holds NoneType"),
        (b"# " + b"x" * 4_000_001, "it is longer than 4,000,000 bytes"),
    ],
)
def test_files_that_are_no_configuration_are_refused_in_one_short_line(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_mapping(tmp_path / "x.yaml")
    message = str(caught.value)
    assert reason in message and "\n" not in message and len(message) < 600


def test_a_device_that_never_ends_is_no_configuration() -> None:
    with pytest.raises(InputError, match="it is longer than"):
        read_mapping("/dev/zero")


def test_what_an_alias_repeats_is_not_shared(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("one: &x {size: 1}\nother: *x\nthird: {<<: *x, rate: 2}\n", encoding="utf-8")
    fields = read_mapping(tmp_path / "x.yaml")
    apply_changes(fields, ["one.size=5"])
    assert fields == {"one": {"size": 5}, "other": {"size": 1}, "third": {"size": 1, "rate": 2}}


def test_an_error_is_short_whatever_was_received() -> None:
    with pytest.raises(InputError) as caught:
        make_settings(Whole, {"name": "n", "part": list(range(100_000))}, "x")
    assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match="a very long int"):
        make_settings(Whole, {"name": "n", "part": {"size": 1 << 100_000}}, "x")


def test_one_value_is_a_list_of_one_where_that_is_wanted() -> None:
    assert make_settings(Whole, {"name": "n", "files": "a"}, "x", one_is_a_list=True).files == ("a",)


def test_a_key_that_is_needed_is_named() -> None:
    with pytest.raises(InputError, match=r"the key name is needed, settings.yaml does not have it; add it"):
        make_settings(Whole, {}, "settings.yaml")


def test_a_rule_that_holds_says_nothing() -> None:
    check("a rule", True, 5)
    with pytest.raises(InputError, match="^a must be a multiple of b, got 3 and 2; change one$"):
        check("a must be a multiple of b", False, 3, 2, advice="change one")
