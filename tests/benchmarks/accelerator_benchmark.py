"""The backbone on one accelerator, on Keras's JAX backend in bfloat16, beside Hugging Face with SDPA on torch.

    python tests/benchmarks/accelerator_benchmark.py --into BENCHMARKS.md     # a GPU that JAX and torch both see
    python tests/benchmarks/accelerator_benchmark.py --device cpu --small     # that it works, on any machine

BERT base at rows of 128 and 512, all tokens real, no dropout: the forward pass alone, and with the gradients of all
weights. Both libraries load the same weights and must give the same hidden states before anything is timed. Each lives in
a process of its own, one after the other. Needs the extra `parity`, with JAX and torch for the device; no TensorFlow.
This measures the code of the models, not the trainer.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The other library gets the memory too.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from tables import header, put_into

PACKAGES = ["keras", "jax", "jaxlib", "torch", "transformers", "numpy"]
NAMES = {
    "clozekit": "Clozekit, Keras on JAX",
    "hugging_face": "Hugging Face, SDPA",
    "hugging_face_compiled": "Hugging Face, SDPA, torch.compile",
}


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    device: str
    dtype: str
    vocabulary_size: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int
    # Rows of each length: equal numbers of tokens.
    rows: dict[int, int]
    num_runs: int
    product: int


def sizes_for(device: str, small: bool) -> Sizes:
    if small:
        dtype = "bfloat16" if device == "gpu" else "float32"
        return Sizes(device, dtype, 1000, 2, 2, 64, 128, {32: 8, 64: 4}, 3, 512)
    return Sizes(device, "bfloat16", 30_522, 12, 12, 768, 3072, {128: 256, 512: 64}, 10, 8192)


def token_ids(sizes: Sizes, length: int) -> np.ndarray:
    dice = np.random.default_rng(length)
    return dice.integers(5, sizes.vocabulary_size, (sizes.rows[length], length)).astype(np.int32)


def prepare(sizes: Sizes, directory: Path) -> None:
    """Random weights in Hugging Face's layout, which both read."""
    import keras

    from clozekit.model import BertBackbone, BertMaskedLM
    from clozekit.model.presets.huggingface_preset import save_huggingface

    keras.utils.set_random_seed(0)
    # One activation and one epsilon everywhere: the bodies are the same in both layouts.
    backbone = BertBackbone(
        sizes.vocabulary_size,
        sizes.num_layers,
        sizes.num_heads,
        sizes.hidden_dim,
        sizes.intermediate_dim,
        activation="gelu",
        dropout=0.0,
    )
    task = BertMaskedLM(backbone, head_layer_norm_epsilon=1e-12, compile=False)
    save_huggingface(task, directory)


def clozekit_runs(sizes: Sizes, directory: Path, _compiled: bool) -> Callable[[np.ndarray], dict[str, Any]]:
    import jax
    import jax.numpy as jnp

    from clozekit.model import BertBackbone

    backbone = BertBackbone.from_preset(str(directory), dtype=sizes.dtype)
    trainable = [variable.value for variable in backbone.trainable_variables]
    other = [variable.value for variable in backbone.non_trainable_variables]

    def hidden(weights: list[Any], inputs: dict[str, Any]) -> Any:
        return backbone.stateless_call(weights, other, inputs, training=False)[0]["sequence_output"]

    def loss(weights: list[Any], inputs: dict[str, Any]) -> Any:
        return jnp.mean(jnp.square(hidden(weights, inputs).astype("float32")))

    forward, gradients = jax.jit(hidden), jax.jit(jax.grad(loss))

    def runs(ids: np.ndarray) -> dict[str, Any]:
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
        inputs = jax.device_put(inputs)
        return {
            "outputs": np.asarray(forward(trainable, inputs).astype("float32")),
            "forward": lambda: jax.block_until_ready(forward(trainable, inputs)),
            "gradients": lambda: jax.block_until_ready(gradients(trainable, inputs)),
        }

    return runs


def hugging_face_runs(sizes: Sizes, directory: Path, compiled: bool) -> Callable[[np.ndarray], dict[str, Any]]:
    import torch
    from transformers import BertModel

    device = "cuda" if sizes.device == "gpu" else "cpu"
    dtype = getattr(torch, sizes.dtype)
    options = {"attn_implementation": "sdpa", "dtype": dtype, "add_pooling_layer": False}
    model = BertModel.from_pretrained(directory, **options).to(device).eval()
    called = torch.compile(model) if compiled else model

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def runs(ids: np.ndarray) -> dict[str, Any]:
        tokens = torch.tensor(ids, dtype=torch.long, device=device)
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

        def forward() -> Any:
            with torch.no_grad():
                outputs = called(**inputs).last_hidden_state
            wait()
            return outputs

        def gradients() -> None:
            model.zero_grad(set_to_none=True)
            called(**inputs).last_hidden_state.float().square().mean().backward()
            wait()

        return {"outputs": forward().float().cpu().numpy(), "forward": forward, "gradients": gradients}

    return runs


def product_teraflops(sizes: Sizes, library: str) -> float:
    """Measured speed of one large product of the same type: what MFU is a share of."""
    n = sizes.product
    if library == "clozekit":
        import jax
        import jax.numpy as jnp

        a = jnp.ones((n, n), sizes.dtype)
        multiply = jax.jit(lambda x: x @ x)
        seconds = median_seconds(lambda: jax.block_until_ready(multiply(a)), sizes.num_runs)
    else:
        import torch

        device = "cuda" if sizes.device == "gpu" else "cpu"
        b = torch.ones((n, n), dtype=getattr(torch, sizes.dtype), device=device)

        def multiply_and_wait() -> None:
            torch.matmul(b, b)
            if device == "cuda":
                torch.cuda.synchronize()

        seconds = median_seconds(multiply_and_wait, sizes.num_runs)
    return 2 * n**3 / seconds / 1e12


def median_seconds(function: Callable[[], Any], num_runs: int) -> float:
    """Compilation and the first, slower runs are no part of it."""
    for _ in range(3):
        function()
    seconds = []
    for _ in range(num_runs):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def serve(library: str, sizes: Sizes, directory: Path) -> None:
    """Measures one library and prints what it found as the last line."""
    maker = clozekit_runs if library == "clozekit" else hugging_face_runs
    runs = maker(sizes, directory, library.endswith("compiled"))
    found: dict[str, Any] = {"teraflops": product_teraflops(sizes, library), "device": device_name(library)}
    for length in sizes.rows:
        ids = token_ids(sizes, length)
        made = runs(ids)
        np.save(directory / f"{library}{length}.npy", made["outputs"])
        for kind in ("forward", "gradients"):
            found[f"{kind}{length}"] = ids.size / median_seconds(made[kind], sizes.num_runs)
    print(json.dumps(found))


def device_name(library: str) -> str:
    if library == "clozekit":
        import jax

        return str(jax.devices()[0].device_kind)
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def check_outputs(sizes: Sizes, directory: Path, libraries: list[str]) -> None:
    # bfloat16 has 8 bits, and a dozen layers add their roundings up.
    tolerance = 0.05 if sizes.dtype == "bfloat16" else 1e-4
    for length in sizes.rows:
        ours, *others = (np.load(directory / f"{library}{length}.npy") for library in libraries)
        for library, theirs in zip(libraries[1:], others, strict=True):
            difference = float(np.abs(ours - theirs).mean() / np.abs(theirs).mean())
            if not difference < tolerance:
                raise RuntimeError(
                    f"{library}, rows of {length}: hidden states differ by {difference:.3f}, no speed counts"
                )


def render(sizes: Sizes, found: dict[str, dict[str, Any]]) -> str:
    from clozekit.model.training.flops import FLOPS_FORMULA, Dimensions, training_flops_per_token

    peak = max(result["teraflops"] for result in found.values())
    shape = (sizes.num_layers, sizes.num_heads, sizes.hidden_dim, sizes.intermediate_dim, sizes.hidden_dim)
    dimensions = Dimensions(*shape, sizes.vocabulary_size, 0.0)
    lines = ["## The backbone on an accelerator", ""]
    lines += [
        f"BERT of {sizes.num_layers} layers x {sizes.hidden_dim}, {sizes.dtype}, on {found['clozekit']['device']}; hidden"
    ]
    lines += ["states equal first. The code of the models alone, not the trainer.", ""]
    lines += [*header(PACKAGES), ""]
    lines += [
        f"MFU = FLOPs a token x tokens a second / {peak:.3g} TFLOP/s, measured here on a product of {sizes.product} x"
    ]
    lines += [f"{sizes.product}. FLOPs a token = {FLOPS_FORMULA}; m = 0 here, a third of it for the forward pass.", ""]
    for length, rows in sizes.rows.items():
        lines += [f"### {rows} rows of {length}", "", "| | tokens a second, forward | MFU | with gradients | MFU |"]
        lines += ["|---|---:|---:|---:|---:|"]
        flops = training_flops_per_token(dimensions, length, 0.0)
        for library, result in found.items():
            cells = []
            for kind, share in (("forward", 1 / 3), ("gradients", 1.0)):
                speed = result[f"{kind}{length}"]
                cells += [f"{speed:,.0f}", f"{speed * flops * share / peak / 1e12:.1%}"]
            lines.append(f"| {NAMES[library]} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        fields = json.loads(sys.argv[4])
        fields["rows"] = {int(length): rows for length, rows in fields["rows"].items()}
        sizes, directory = Sizes(**fields), Path(sys.argv[3])
        prepare(sizes, directory) if sys.argv[2] == "prepare" else serve(sys.argv[2], sizes, directory)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--small", action="store_true", help="a toy model, to see that it works")
    parser.add_argument("--into", type=Path, help="Markdown file that gets the tables")
    arguments = parser.parse_args()
    sizes = sizes_for(arguments.device, arguments.small)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu" if arguments.device == "cpu" else "cuda"}
    libraries = list(NAMES) if arguments.device == "gpu" else list(NAMES)[:2]
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for library in ("prepare", *libraries):
            command = [sys.executable, __file__, "--serve", library, temporary, json.dumps(asdict(sizes))]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            if library != "prepare":
                found[library] = json.loads(done.stdout.strip().splitlines()[-1])
                print(f"{library}: {found[library]}", file=sys.stderr)
        check_outputs(sizes, Path(temporary), libraries)
    section = render(sizes, found)
    print(section)
    if arguments.into:
        put_into(arguments.into, "accelerator", section)


if __name__ == "__main__":
    main()
