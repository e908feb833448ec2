"""int8 as KerasHub has it: as close to the floats, and it loads the quantized presets written here."""

from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pytest
import small_families as families

from clozekit.tokenizers.common.family_names import FAMILIES

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")


@pytest.mark.parametrize("name", families.IN_KERAS_HUB)
def test_int8_is_as_close_as_in_keras_hub(name: str, tmp_path: Path) -> None:
    ours = families.masked_lm(name)
    rows = families.batch(name)
    expected = np.asarray(ours(rows))
    ours.save_to_preset(str(tmp_path / "floats"))
    cls: Any = getattr(keras_hub.models, f"{FAMILIES[name].prefix}MaskedLM")
    theirs = cls.from_preset(str(tmp_path / "floats"), preprocessor=None)
    for task in (ours, theirs):
        task.quantize("int8")
    differences = [np.abs(np.asarray(task(rows)) - expected).max() for task in (ours, theirs)]
    assert 0 < differences[0] <= 1.1 * differences[1]
    ours.save_to_preset(str(tmp_path / "int8"))
    loaded = cls.from_preset(str(tmp_path / "int8"), preprocessor=None)
    np.testing.assert_allclose(loaded(rows), ours(rows), atol=1e-5)
