"""The weights of Hugging Face's `model.safetensors`: which tensor is which variable of ours, read and written."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open

from clozekit.model.families.family import Block, HuggingFaceNames
from clozekit.model.presets.keras_preset import CONFIG_FILE
from clozekit.model.tasks.backbone import Backbone
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.open_preset import PresetFiles
from clozekit.tokenizers.settings.json_files import read_object

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# In the header of the weights we write.
_MARK = "clozekit"
PICKLE_FILES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# What transformers 4 wrote from TensorFlow and from Flax, and how it is told to read it; 5 does not know them.
_OLD_FILES = {"tf_model.h5": "from_tf=True", "flax_model.msgpack": "from_flax=True"}


@dataclass(frozen=True)
class Place:
    """A variable of ours and the name of its tensor there.

    input_axes: of a kernel, how many leading axes are its inputs; torch keeps kernels as (outputs, inputs), and does
    not know heads. None for what is no kernel: tables stay as they are, the rest is flat. part, num_parts: which of the equal
    parts of the tensor it is, one below the other; queries, keys and values are one tensor at ModernBERT.
    """

    name: str
    variable: keras.Variable
    input_axes: int | None = None
    is_table: bool = False
    part: int = 0
    num_parts: int = 1

    def whole_shape(self) -> tuple[int, ...]:
        """The tensor's shape there."""
        rows, *others = self.shape()
        return rows * self.num_parts, *others

    def shape(self) -> tuple[int, ...]:
        """The shape there of the part that it is."""
        ours = tuple(self.variable.shape)
        if self.is_table:
            return ours
        if self.input_axes is None:
            return (math.prod(ours),)
        return math.prod(ours[self.input_axes :]), math.prod(ours[: self.input_axes])

    def to_theirs(self, ours: np.ndarray) -> np.ndarray:
        if self.input_axes is None:
            return ours.reshape(self.shape())
        return ours.reshape(self.shape()[::-1]).T

    def to_ours(self, theirs: np.ndarray) -> np.ndarray:
        """Of the whole tensor."""
        theirs = np.split(theirs, self.num_parts)[self.part]
        return (theirs if self.input_axes is None else theirs.T).reshape(tuple(self.variable.shape))


def dense_places(
    name: str,
    layer: keras.layers.Dense | keras.layers.EinsumDense,
    input_axes: int = 1,
    part: int = 0,
    num_parts: int = 1,
) -> list[Place]:
    places = [Place(f"{name}.weight", layer.kernel, input_axes, part=part, num_parts=num_parts)]
    if layer.bias is not None:
        places.append(Place(f"{name}.bias", layer.bias, part=part, num_parts=num_parts))
    return places


def norm_places(name: str, layer: keras.layers.LayerNormalization) -> list[Place]:
    places = [Place(f"{name}.weight", layer.gamma)]
    return places if layer.beta is None else [*places, Place(f"{name}.bias", layer.beta)]


def layer_places(name: str, layer: keras.layers.Layer) -> list[Place]:
    """Of a dense layer or a normalisation."""
    if isinstance(layer, keras.layers.LayerNormalization):
        return norm_places(name, layer)
    return dense_places(name, layer)


def _block(name: str, block: Block, names: Mapping[str, str]) -> Iterator[Place]:
    parts = block.parts()
    layers: dict[str, keras.layers.Layer | None] = {**parts._asdict(), **parts.attention.projections()}
    for part, theirs in names.items():
        layer, alike = layers.get(part), [other for other in names if names[other] == theirs]
        if isinstance(layer, keras.layers.LayerNormalization):
            yield from norm_places(f"{name}.{theirs}", layer)
        elif layer is not None:
            input_axes = 2 if part == "output" and len(layer.kernel.shape) == 3 else 1
            yield from dense_places(f"{name}.{theirs}", layer, input_axes, alike.index(part), len(alike))


def backbone_places(backbone: Backbone, names: HuggingFaceNames) -> list[Place]:
    """Every variable of a backbone but its position table and its pooler; the names are without the model's prefix."""
    places = [Place(f"{names.tokens}.weight", backbone.token_embedding.embeddings, is_table=True)]
    if names.segments == "own":
        segments = backbone.segment_embedding.embeddings
        places.append(Place("embeddings.token_type_embeddings.weight", segments, is_table=True))
    for part, name in names.tables.items():
        places.append(Place(f"{name}.weight", getattr(backbone, part).embeddings, is_table=True))
    for part, name in {**names.norms, **names.dense_parts}.items():
        # ELECTRA projects its embeddings where they are of another width.
        if hasattr(backbone, part):
            places += layer_places(name, getattr(backbone, part))
    for name, block in names.blocks(backbone):
        places += _block(name, block, names.block)
    return places


def pooler_places(backbone: Backbone, names: HuggingFaceNames) -> list[Place]:
    """The pooler's variables, or none where the family has no pooler there."""
    has_one = names.pooler is not None and hasattr(backbone, "pooled_dense")
    return dense_places(str(names.pooler), backbone.pooled_dense) if has_one else []


class Checkpoint:
    """The tensors of a preset, whole or in shards. Nothing but their arrays is ever read."""

    def __init__(self, files: PresetFiles, elsewhere: Mapping[str, str] | None = None) -> None:
        """elsewhere: how names begin -> how they begin in some files."""
        self._source = files.source
        self._elsewhere = elsewhere or {}
        self._files = files
        self._opened = {name: self._open(name) for name in self._names_of_files()}
        self._file_of = {tensor: name for name, opened in self._opened.items() for tensor in opened.keys()}  # noqa: SIM118

    def _names_of_files(self) -> list[str]:
        if self._files.path(WEIGHTS_FILE, required=False) is not None:
            return [WEIGHTS_FILE]
        index = self._files.path(INDEX_FILE, required=False)
        if index is None:
            raise self._no_weights()
        named = f"{self._source}: {INDEX_FILE}"
        weight_map = read_object(index, named).get("weight_map")
        names = list(weight_map.values()) if isinstance(weight_map, dict) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"{named} must name the file of each weight (weight_map), it does not; copy it again")
        return sorted(set(names))

    def _no_weights(self) -> InputError:
        pickles = [name for name in PICKLE_FILES if self._files.path(name, required=False) is not None]
        old = [name for name in _OLD_FILES if self._files.path(name, required=False) is not None]
        if not pickles and old:
            return InputError(
                f"{self._source} must hold {WEIGHTS_FILE}, it has {old[0]} alone, of another framework; convert it where"
                f" transformers 4, torch and that framework are installed: {self._converting(f', {_OLD_FILES[old[0]]}')}"
            )
        if not pickles:
            return InputError(
                f"{self._source} must hold {WEIGHTS_FILE} (or {INDEX_FILE}), it does not; copy it again, or pass"
                " load_weights=False for fresh weights"
            )
        return InputError(
            f"{self._source} must hold {WEIGHTS_FILE}, it has {pickles[0]} alone, a pickle, which can run code when it is"
            f" loaded; convert it where transformers and torch are installed: {self._converting()}"
        )

    def _converting(self, how: str = "") -> str:
        source = self._source.removeprefix("hf://")
        return (
            f"python -c 'from transformers import {self._their_class()} as M;"
            f' M.from_pretrained("{source}"{how}).save_pretrained("converted")\' and copy its vocabulary files'
        )

    def _their_class(self) -> str:
        """The class that was saved: with another, ELECTRA's discriminator would lose its head."""
        path = self._files.path(CONFIG_FILE, required=False)
        names = None if path is None else read_object(path, f"{self._source}: {CONFIG_FILE}").get("architectures")
        name = names[0] if isinstance(names, list) and names else None
        return name if isinstance(name, str) and name.isascii() and name.isidentifier() else "AutoModelForMaskedLM"

    def _open(self, name: str) -> safe_open:
        path = self._files.required_path(name)
        try:
            return safe_open(path, framework="np").__enter__()
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{self._source}: {name} must be a whole safetensors file, it is damaged ({error}); copy it again"
            ) from error

    @property
    def paths(self) -> list[Path]:
        return [self._files.required_path(name) for name in self._opened]

    def __contains__(self, name: str) -> bool:
        return self._found(name) is not None

    def is_ours(self) -> bool:
        """Whether Clozekit wrote the weights; transformers, when it saves trained ones, leaves the mark out."""
        return all(_MARK in (opened.metadata() or {}) for opened in self._opened.values())

    def has_prefix(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self._file_of)

    def _found(self, name: str) -> str | None:
        """The name under which the file has a tensor: norms had TensorFlow's names once."""
        part, _, last = name.rpartition(".")
        legacy = {"weight": "gamma", "bias": "beta"}.get(last)
        candidates = [name, f"{part}.{legacy}"] if legacy is not None and part.endswith("LayerNorm") else [name]
        for begin, other in self._elsewhere.items():
            if name.startswith(begin):
                candidates.append(other + name.removeprefix(begin))
        return next((candidate for candidate in candidates if candidate in self._file_of), None)

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """One tensor as float32. Raises InputError when it is missing or of another shape or kind."""
        found = self._found(name)
        if found is None:
            raise InputError(
                f"{self._source}: {self._described()} must hold {name} of shape {shape}, as config.json describes, it"
                " does not"
            )
        opened = self._opened[self._file_of[found]]
        kept = opened.get_slice(found)
        if tuple(kept.get_shape()) != shape or kept.get_dtype() not in ("F64", "F32", "F16", "BF16"):
            raise InputError(
                f"{self._source}: {found} in {self._file_of[found]} must be floats of shape {shape}, as config.json"
                f" describes, it is {kept.get_dtype()} of shape {tuple(kept.get_shape())}"
            )
        return opened.get_tensor(found).astype(np.float32)

    def _described(self) -> str:
        return WEIGHTS_FILE if WEIGHTS_FILE in self._opened else f"the files of {INDEX_FILE}"


def read_places(checkpoint: Checkpoint, places: list[Place], prefix: str = "") -> None:
    """Assigns every variable its tensor."""
    for place in places:
        place.variable.assign(place.to_ours(checkpoint.read(prefix + place.name, place.whole_shape())))


def arrays_of(places: list[Place], prefix: str = "") -> dict[str, np.ndarray]:
    """Name -> tensor of every variable, in float32."""
    values = [np.asarray(keras.ops.convert_to_numpy(place.variable), np.float32) for place in places]
    return joined_parts(places, values, prefix)


def joined_parts(places: list[Place], values: list[np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
    """Name -> tensor there, of a value of ours for each place."""
    parts: dict[str, list[np.ndarray]] = {}
    for place, value in zip(places, values, strict=True):
        parts.setdefault(prefix + place.name, []).append(place.to_theirs(value))
    return {name: found[0] if len(found) == 1 else np.concatenate(found) for name, found in parts.items()}


def write_arrays(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Writes float32 arrays as a safetensors file; the bytes depend on the arrays alone.

    Written here, not by the library: it puts metadata in random order, and copies all arrays before it writes one. The
    format: the header's length (8 bytes, little-endian), the header (JSON, padded with spaces), the arrays.
    """
    # transformers asks for the format before it loads anything.
    header: dict[str, dict[str, object]] = {"__metadata__": {"format": "pt", _MARK: "1"}}
    end = 0
    for name, array in sorted(arrays.items()):
        start, end = end, end + array.size * 4
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for _, array in sorted(arrays.items()):
            file.write(np.ascontiguousarray(array, "<f4").data)
