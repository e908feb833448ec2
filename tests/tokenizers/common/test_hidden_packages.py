"""Packages hidden from a library while it loads: as if not installed, then as ever."""

import sys

import pytest

from clozekit.tokenizers.common.hidden_packages import hidden_packages


def test_a_hidden_package_is_not_found_and_is_imported_as_ever_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with hidden_packages(["colorsys"]):
        monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with hidden_packages(["colorsys"]), pytest.raises(ModuleNotFoundError):
        import colorsys
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)


def test_one_that_was_imported_stays_and_an_error_ends_the_hiding() -> None:
    with pytest.raises(ValueError, match="inside"), hidden_packages(["json", "no_such_package"]):
        import json

        assert json.dumps(1) == "1"
        raise ValueError("inside")
    assert "no_such_package" not in sys.modules
