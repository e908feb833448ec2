"""What ends a build of many shards asks of a bucket: requests and seconds, against a bucket server on this machine.

    python tests/benchmarks/commit_benchmark.py --shards 100000
    python tests/benchmarks/commit_benchmark.py --shards 2000 --server fake-gcs-server

The shards hold nothing: what is counted is what the commit does with their names and with their part files. The server is our
own one by default: fake-gcs-server looks at all objects for each request, so that it cannot hold a hundred thousand.
"""

import argparse
import collections
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
# Else gcsfs asks another service, which is not here, what kind of bucket it is.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

import gcsfs
from object_server import object_server
from stand_in import StandIn, service_account
from storage_server import storage_server

from clozekit.pipelines.build_output import BuildOutput
from clozekit.pipelines.dataset.manifest import Manifest, ShardInfo, SplitInfo, TokenizerInfo, dataset_fingerprint
from clozekit.pipelines.dataset.records import shard_name
from clozekit.pipelines.output_files import MADE_BY
from clozekit.pipelines.rows.commit import BuildInfo, files_seen, write_commit
from clozekit.pipelines.rows.make_dataset import Target
from clozekit.pipelines.rows.write_shards import part_path, part_to_json
from clozekit.pipelines.settings.prepare_settings import PrepareSettings
from clozekit.tokenizers.storage.owned_files import OWNED_FILE, Owned, owned_to_json

DIRECTORY = "gs://bucket/dataset"
BUILD = "0123456789abcdef" * 4
SPECIAL = {"pad_token": 0, "mask_token": 1, "start_token": 2, "end_token": 3}


def shards_of(number: int) -> list[ShardInfo]:
    digests = [f"{index:064x}"[::-1] for index in range(number)]
    return [
        ShardInfo(shard_name("train", index, number, digest), 1, 1, 1, 100, digest, index)
        for index, digest in enumerate(digests)
    ]


def manifest_of(shards: list[ShardInfo], build: BuildInfo) -> Manifest:
    splits = {"train": SplitInfo(tuple(shards), (len(shards), *[0] * 7), 1)}
    return Manifest(
        build_id=BUILD,
        sequence_length=8,
        settings={},
        tokenizer=build.tokenizer,
        inputs=(),
        splits=splits,
        counts={},
        environment={},
        dataset_sha256=dataset_fingerprint(splits),
    )


def objects_of(shards: list[ShardInfo]) -> dict[str, bytes]:
    """bucket/name -> content of what a build has left that was killed just before its commit."""
    paths = {part_path(DIRECTORY, BUILD, "train", index): part_to_json(info) for index, info in enumerate(shards)}
    owned = owned_to_json(Owned(MADE_BY, frozenset(["manifest.json"]), frozenset([BUILD[:16]])))
    paths |= {f"{DIRECTORY}/{info.name}": b"x" for info in shards} | {f"{DIRECTORY}/{OWNED_FILE}": owned}
    return {path.removeprefix("gs://"): content for path, content in paths.items()}


@contextmanager
def server_of(name: str, folder: Path, objects: Mapping[str, bytes]) -> Iterator[int]:
    """The port of a server that holds the objects."""
    if name == "ours":
        path = folder / "objects.json"
        path.write_text(json.dumps({key: content.decode() for key, content in objects.items()}), encoding="utf-8")
        with object_server(path) as port:
            yield port
        return
    for key, content in objects.items():
        place = folder / "data" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    with storage_server(data=folder / "data") as port:
        yield port


def measure(shards: list[ShardInfo]) -> None:
    requests: collections.Counter[str] = collections.Counter()
    call = gcsfs.GCSFileSystem._request

    async def counted(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        requests[method] += 1
        return await call(self, method, *arguments, **options)

    gcsfs.GCSFileSystem._request = counted

    def timed(name: str, work: Callable[[], Any]) -> Any:
        requests.clear()
        began, spent = time.perf_counter(), time.process_time()
        result = work()
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
        said = ", ".join(f"{count:,} {method}" for method, count in sorted(requests.items()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"| {name} | {said or 'none'} | {spent:.1f} | {seconds:.1f} | {peak:,} |", flush=True)
        return result

    build = BuildInfo(BUILD, 8, {}, TokenizerInfo("T", "0" * 64, 10, SPECIAL), (), "FlinkRunner")
    target = Target(DIRECTORY, PrepareSettings(sequence_length=8), build, files_seen(DIRECTORY))
    print(f"{len(shards):,} shards\n\n| step | requests | CPU-s | s | peak, MB |\n|---|---|---:|---:|---:|")

    def begin() -> BuildOutput:
        return BuildOutput.begin(DIRECTORY, "0" * 8, [target], frozenset(["manifest.json"]))

    output = timed("begin, after a kill just before the commit", begin)
    timed("commit", lambda: write_commit(DIRECTORY, manifest_of(shards, build), {}, target.seen))
    timed("end: the parts are removed", output.end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--server", choices=["ours", "fake-gcs-server"], default="ours")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, StandIn(lambda request: (404, {})) as tokens:
        key = service_account(Path(folder) / "key.json", f"{tokens.url}/token")
        os.environ |= {"GOOGLE_APPLICATION_CREDENTIALS": str(key), "GOOGLE_CLOUD_PROJECT": "my-project"}
        shards = shards_of(arguments.shards)
        with server_of(arguments.server, Path(folder), objects_of(shards)) as port:
            os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
            measure(shards)


if __name__ == "__main__":
    main()
