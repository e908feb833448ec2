"""What `prepare` costs on an engine: shuffled bytes of each stage, and CPU a MB on Flink with 1, 2 and 4 slots.

    make bench-engines CORPORA=docs.jsonl.gz BERT_VOCABULARY=vocab.txt

No speed-up is told: all of it runs on one machine, and more slots than cores only show what a slot costs.
"""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import engine_parts
from flink_cluster import flink_cluster, job_server
from shuffle_counts import shuffles_counted

from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    CorpusSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.text_files.open_input import open_input
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

CORPUS = CorpusSettings(
    CleanSettings(unicode=True), FilterSettings(("gopher",)), deduplicate=DeduplicateSettings("near")
)
OPTIONS = PrepareSettings(sequence_length=512, num_shards=8)
# The local runner by another name than its own keeps no blocks in files: they travel, as on an engine.
LOCAL = "clozekit.pipelines.running.local_runner.LocalRunner"
NUM_FILES = 8


def write_corpus(source: str, folder: Path, megabytes: float) -> ReadSettings:
    """The first megabytes of text of a JSON lines file, in several files."""
    files = [(folder / f"part-{number}.jsonl").open("wb") for number in range(NUM_FILES)]
    written = 0
    with open_input(source, False) as stream:
        for number, line in enumerate(stream):
            files[number % NUM_FILES].write(line)
            written += len(line)
            if written >= megabytes * 1e6:
                break
    for file in files:
        file.close()
    return ReadSettings((f"{folder}/part-*.jsonl",))


def num_megabytes(reading: ReadSettings) -> float:
    folder = Path(reading.inputs[0]).parent
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def build(reading: ReadSettings, tokenizer: str, output: Path, runner: str, arguments: Sequence[str] = ()) -> str:
    with contextlib.redirect_stderr(io.StringIO()):
        manifest, _ = prepare(
            reading, OPTIONS, tokenizer, str(output), runner=runner, beam_arguments=arguments, corpus=CORPUS
        )
    return manifest.dataset_sha256


def show_shuffles(reading: ReadSettings, tokenizer: str, folder: Path) -> str:
    megabytes = num_megabytes(reading)
    with shuffles_counted() as shuffled:
        sha256 = build(reading, tokenizer, folder / "counted", LOCAL)
    print(
        "| stage | kB a MB of input | elements a MB | largest element, kB | keys | largest group, kB |\n|---|---|---|---|---|---|"
    )
    total = 0
    for stage, found in sorted(shuffled.items(), key=lambda item: -item[1].num_bytes):
        total += found.num_bytes
        name = "/".join(part for part in stage.split("/") if part not in ("GroupByKey", "_Counted"))
        cells = [found.num_bytes / 1e3 / megabytes, found.num_elements / megabytes, found.largest_element / 1e3]
        numbers = [f"{cell:,.1f}" for cell in cells]
        print(f"| {name} | {' | '.join(numbers)} | {len(found.groups):,} | {max(found.groups.values()) / 1e3:,.1f} |")
    print(f"| all | {total / 1e3 / megabytes:,.1f} | | | | |\n", flush=True)
    return sha256


def sessions_started() -> list[int]:
    """The leaders of sessions that this process has started."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,sid=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True
    )
    pairs = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, session in pairs if pid == session]


def cpu_seconds(sessions: Sequence[int]) -> dict[int, float]:
    """CPU seconds of all processes of some sessions, with those of their children that have ended."""
    ticks, found = os.sysconf("SC_CLK_TCK"), dict.fromkeys(sessions, 0.0)
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, NotADirectoryError):
            continue
        if int(fields[3]) in found:
            found[int(fields[3])] += sum(map(int, fields[11:15])) / ticks
    return found


def show_slots(reading: ReadSettings, tokenizer: str, folder: Path, sha256: str) -> None:
    jars, runner = engine_parts.flink(), engine_parts.flink_job_server()
    megabytes = num_megabytes(reading)
    print("| slots | TaskManagers | CPU-s a MB: workers | Flink | job server | all |\n|---|---|---|---|---|---|")
    for slots in (1, 2, 4):
        managers = min(slots, 2)
        place = folder / f"flink-{slots}"
        place.mkdir()
        with (
            flink_cluster(jars, runner, place, managers, slots // managers, managers) as (cluster, pools),
            job_server(runner, place, cluster.master) as endpoint,
        ):
            arguments = [f"--job_endpoint={endpoint}", f"--flink_master={cluster.master}", f"--parallelism={slots}"]
            arguments += ["--environment_type=EXTERNAL", f"--environment_config={pools.address}"]
            arguments.append("--environment_cache_millis=60000")
            kinds = {
                "workers": [pool.pid for pool in pools.pools],
                "flink": [service.pid for service in (cluster.job_manager, *cluster.task_managers)],
            }
            known = {pid for each in kinds.values() for pid in each}
            kinds["server"] = [pid for pid in sessions_started() if pid not in known]
            pids = [pid for each in kinds.values() for pid in each]
            before = cpu_seconds(pids)
            found = build(reading, tokenizer, place / "dataset", "FlinkRunner", arguments)
            after = cpu_seconds(pids)
        if found != sha256:
            raise ValueError(f"the dataset must be that of this process, {sha256}, it is {found}")
        spent = {kind: sum(after[pid] - before[pid] for pid in each) / megabytes for kind, each in kinds.items()}
        cells = [f"{spent[kind]:.2f}" for kind in kinds] + [f"{sum(spent.values()):.2f}"]
        print(f"| {slots} | {managers} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--bert-vocabulary", required=True)
    parser.add_argument("--mb", type=float, default=8)
    parser.add_argument("--only", nargs="*", choices=("shuffles", "slots"), default=["shuffles", "slots"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        reading = write_corpus(arguments.corpus, folder / "corpus", arguments.mb)
        tokenizer = str(folder / "tokenizer")
        BertTokenizer(arguments.bert_vocabulary, lowercase=True).save(tokenizer)
        print(f"{num_megabytes(reading):.1f} MB of JSON lines, near duplicates, {os.cpu_count()} CPUs\n")
        if "shuffles" in arguments.only:
            sha256 = show_shuffles(reading, tokenizer, folder)
        else:
            sha256 = build(reading, tokenizer, folder / "here", LOCAL)
        if "slots" in arguments.only:
            show_slots(reading, tokenizer, folder, sha256)


if __name__ == "__main__":
    main()
