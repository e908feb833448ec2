"""What the driver of a build does with a list of a million files: seconds and memory of each step, and the size of the graph.

    python tests/benchmarks/listing_benchmark.py --files 1000000

The files are names that a file system of this script makes up: what is measured is what stays in the driver and in the graph.
"""

import argparse
import dataclasses
import resource
import string
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import fsspec
from apache_beam.options.pipeline_options import PipelineOptions
from fsspec.spec import AbstractFileSystem

from clozekit.pipelines.build_datasets import build_graph
from clozekit.pipelines.prepare import describe_build, describe_tokenizer, select_files
from clozekit.pipelines.reading.read_documents import find_sources
from clozekit.pipelines.rows.make_dataset import Target
from clozekit.pipelines.running.block_store import BlockStore
from clozekit.pipelines.select_documents import files_read
from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    CorpusSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.text_files.file_states import check_unchanged, states_of
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

CORPUS = CorpusSettings(
    CleanSettings(unicode=True), FilterSettings(("gopher",)), deduplicate=DeduplicateSettings("near")
)
FILES_A_FOLDER = 1000
ROOT = "bucket/docs"


class MadeUpFiles(AbstractFileSystem):
    """So many files of a megabyte, a thousand in a folder, as an object store describes them."""

    protocol = "madeup"
    num_files = 0

    def _file(self, number: int) -> dict[str, Any]:
        name = f"{ROOT}/folder-{number // FILES_A_FOLDER:04d}/part-{number:07d}.jsonl"
        # Etags are as good as random.
        etag = f"{hash((number, 'etag')) % 2**64:016x}"
        return {"name": name, "type": "file", "size": 1_000_000, "etag": etag, "generation": str(number)}

    def find(self, path: str, *arguments: Any, detail: bool = False, **options: Any) -> Any:
        found = {file["name"]: file for file in map(self._file, range(self.num_files))}
        return found if detail else list(found)

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[dict[str, Any]]:
        first = int(self._strip_protocol(path).rstrip("/")[-4:]) * FILES_A_FOLDER
        return [self._file(number) for number in range(first, min(self.num_files, first + FILES_A_FOLDER))]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        if "*" in path:
            raise FileNotFoundError(path)
        return {"name": path, "type": "directory", "size": 0}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        return b'{"text": "x"}\n'[start:end]


def steps(num_files: int, tokenizer_directory: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What `prepare` does before a runner has the job, and before the commit; each step needs the ones before."""
    MadeUpFiles.num_files = num_files
    fsspec.register_implementation("madeup", MadeUpFiles)
    reading, options = ReadSettings((f"madeup://{ROOT}/*/*.jsonl",)), PrepareSettings(sequence_length=512)
    found: dict[str, Any] = {}

    def keep(name: str, make: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: found.update({name: make()})

    def graph() -> beam.Pipeline:
        build = dataclasses.replace(found["build"], states=found["states"])
        root = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
        target = Target("output", options, build)
        build_graph(root, found["selection"], [target], tokenizer_directory, "output", "0" * 8, BlockStore(), None)
        return root

    tokenizer = BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase], lowercase=True)
    tokenizer.save(tokenizer_directory)
    told = describe_tokenizer(tokenizer)
    yield "list", keep("inputs", lambda: find_sources(reading))
    yield "states before", keep("states", lambda: states_of(files_read(found["inputs"], CORPUS)))
    yield (
        "describe",
        keep("build", lambda: describe_build(found["inputs"], reading, CORPUS, options, told, "FlinkRunner")),
    )
    yield "cut into work", keep("selection", lambda: select_files(found["inputs"], reading, CORPUS, options))
    yield "make the graph", keep("root", graph)
    yield "write the graph", keep("proto", lambda: found["root"].to_runner_api())
    yield "states after", lambda: check_unchanged(found["states"])
    specs = ((one.spec.ByteSize() / 1e6, one.unique_name) for one in found["proto"].components.transforms.values())
    for megabytes, name in sorted(specs, reverse=True)[:4]:
        print(f"{megabytes:.1f} MB {name}")
    print(f"\nThe graph has {found['proto'].ByteSize() / 1e6:.1f} MB.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    arguments = parser.parse_args()
    print(f"{arguments.files:,} files\n\n| step | CPU-s | peak of the driver, MB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, work in steps(arguments.files, str(Path(folder) / "tokenizer")):
            began = time.process_time()
            work()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"| {name} | {time.process_time() - began:.1f} | {peak:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
