"""Slurm: the workers of a job step from SLURM_* variables. Own parser: TensorFlow's fails on nodes without GPUs."""

import re
from collections.abc import Mapping

from clozekit.model.training.cluster.worker_addresses import ClusterSpec, whole_number
from clozekit.model.training.settings.loop_settings import MAX_WORKERS, ClusterSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.yaml_values import shown

# Below the ports Linux gives to clients (32768). Jobs that share a node get other ports.
_FIRST_PORT, _NUM_JOBS, _PORTS_A_JOB = 20_000, 780, 16
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def _split(nodelist: str) -> list[str]:
    """Pieces between the commas that are not inside brackets."""
    return re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", nodelist)


def expand_nodelist(nodelist: str) -> list[str]:
    """Host names of a Slurm node list: "n[1-3,07],gpu-a" is n1, n2, n3, n07, gpu-a; several brackets multiply."""

    def expand(piece: str) -> list[str]:
        before, opening, rest = piece.partition("[")
        if not opening:
            return [piece]
        inside, closing, after = rest.partition("]")
        numbers: list[str] = []
        for part in inside.split(","):
            match = _RANGE.fullmatch(part)
            if match is None or not closing:
                raise ValueError(piece)
            first, last = match[1], match[2] or match[1]
            if len(last) > 18 or not 0 <= int(last) - int(first) < MAX_WORKERS:
                raise ValueError(piece)
            # A leading zero fixes the width: n[08-10] is n08, n09, n10.
            numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        tails = expand(after)
        if len(numbers) * len(tails) > MAX_WORKERS:
            raise ValueError(piece)
        return [before + number + tail for number in numbers for tail in tails]

    pieces = _split(nodelist.strip())
    try:
        # What the pieces leave out is an unmatched bracket.
        if not pieces or ",".join(pieces) != nodelist.strip():
            raise ValueError(nodelist)
        names = [name for piece in pieces for name in expand(piece)]
        if len(names) > MAX_WORKERS:
            raise ValueError(nodelist)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"a Slurm node list must look like n[1-3,7],gpu1, with rising ranges and at most {MAX_WORKERS:,} nodes, got"
            f" {shown(nodelist)}; is the variable cut off?"
        ) from error
    return names


def expand_tasks_per_node(text: str) -> list[int]:
    """Tasks on each node: "2(x3),1" is 2, 2, 2, 1."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        numbers = [] if match is None else [number for number in match.groups("1") if len(number) <= 9]
        if len(numbers) < 2 or len(counts) + int(numbers[1]) > MAX_WORKERS:
            raise InputError(
                f"Slurm's tasks per node must look like 2(x3),1, for at most {MAX_WORKERS:,} nodes, got {shown(text)}; is"
                " the variable cut off?"
            )
        counts += [int(numbers[0])] * int(numbers[1])
    return counts


def slurm_cluster(environment: Mapping[str, str], config: ClusterSettings) -> ClusterSpec | None:
    """The tasks of the job step that srun started; None outside of one (a batch script that runs a command itself is
    one process, whatever the job holds)."""
    if "SLURM_STEP_NODELIST" not in environment:
        return None
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_JOB_ID")
    missing = [name for name in names if name not in environment]
    if missing:
        raise InputError(
            f"srun sets {', '.join(names)}, {', '.join(missing)} is not set here; start every worker with srun, or set"
            " cluster.environment=none"
        )
    num_tasks = whole_number("SLURM_STEP_NUM_TASKS", environment["SLURM_STEP_NUM_TASKS"], 1, MAX_WORKERS)
    index = whole_number("SLURM_PROCID", environment["SLURM_PROCID"])
    if num_tasks == 1:
        return ClusterSpec("Slurm")
    nodes = expand_nodelist(environment["SLURM_STEP_NODELIST"])
    counts = expand_tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])
    if len(nodes) != len(counts) or sum(counts) != num_tasks:
        raise InputError(
            f"Slurm's variables must agree, it gives {len(nodes)} nodes, tasks {counts} on them and {num_tasks} tasks in"
            " all; start the workers with srun and leave its variables as they are"
        )
    job = whole_number("SLURM_JOB_ID", environment["SLURM_JOB_ID"])
    port = _FIRST_PORT + job % _NUM_JOBS * _PORTS_A_JOB if config.port is None else config.port
    places = [(node, local) for node, count in zip(nodes, counts, strict=True) for local in range(count)]
    here = environment.get("SLURMD_NODENAME")
    if here is not None and index < num_tasks and places[index][0] != here:
        raise InputError(
            f"tasks must fill one node after another, task {index} runs on {here} and not on {places[index][0]}; start"
            " the workers with `srun --distribution=block`"
        )
    return ClusterSpec("Slurm", tuple(f"{node}:{port + local}" for node, local in places), index)
