"""What a step of a recipe can be: the commands, where each writes, what it reads, what changes nothing that it writes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clozekit.deploy.adapt.adapt_recipe import make_adapt_recipe
from clozekit.model.training.finetuning.examples.example_files import example_files
from clozekit.model.training.finetuning.examples.labelled_texts import check_head
from clozekit.model.training.settings.finetune_settings import make_finetune_config
from clozekit.model.training.settings.run_file import make_config
from clozekit.pipelines.settings.corpus_file import SECTIONS, build_options, take_sections
from clozekit.pipelines.settings.recipe import make_recipe

_CORPUS = (
    "read.inputs",
    "sources.*.inputs",
    "filter.tags",
    "filter.bad_words",
    "decontaminate.inputs",
)
_IN_A_RUN = {"directory": "", "preset": "preset", "best": "best"}


@dataclass(frozen=True)
class StepKind:
    """A command as a step.

    place: the key of its block that says where it writes, None where it writes nothing; name: what that is called in the
    step's own folder, where the block does not say it. outputs: name in a reference -> path in that place; kept: the paths
    there that tell whether what it wrote is whole. inputs: dotted keys of the block whose values name what it reads, * for each of a
    list. idle: keys that change nothing of what it writes. file_keys: which keys stand in a file that the command gets,
    None for all of them; file_option: how it gets the file, "" as its first word. check: raises InputError for a wrong
    block. look_at: raises InputError for what is wrong with files that are there; it gets whether a path is made by an earlier step.
    mends: run again, it writes anew what is damaged; what others wrote is moved aside first. platforms: where `submit` can
    send it. made_by: the number that counts changes of its code that change its bytes.
    """

    place: str | None = None
    name: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ("",)
    inputs: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    file_keys: tuple[str, ...] | None = ()
    file_option: str = ""
    check: Callable[[dict[str, Any], str], object] | None = None
    look_at: Callable[[dict[str, Any], Callable[[str], bool], str], None] | None = None
    mends: bool = False
    platforms: tuple[str, ...] = ()
    made_by: int = 1


def _look_at_examples(block: dict[str, Any], is_made: Callable[[str], bool], source: str) -> None:
    """The files of a fine-tuning, but those that another step makes."""
    config = make_finetune_config(block, source)
    for path, columns in example_files(config):
        if not is_made(path):
            check_head(path, columns)


def _check_sections(block: dict[str, Any], source: str) -> None:
    build_options(take_sections({key: value for key, value in block.items() if key in SECTIONS}, source), source)


# A command becomes a step by an entry here.
STEP_KINDS: Mapping[str, StepKind] = {
    "vocab": StepKind(
        place="output",
        name="tokenizer",
        outputs={"output": ""},
        inputs=(*_CORPUS, "input", "keep_tags", "decontaminate", "bad_words", "config"),
        idle=("runner", "num_workers", "overwrite"),
        file_keys=SECTIONS,
        file_option="--config",
        check=_check_sections,
    ),
    "prepare": StepKind(
        place="output",
        name="dataset",
        outputs={"output": ""},
        inputs=(*_CORPUS, "tokenizer"),
        file_keys=None,
        check=make_recipe,
        platforms=("dataflow", "flink", "spark"),
    ),
    "export": StepKind(
        place="output",
        name="export",
        outputs={"output": ""},
        inputs=("dataset",),
        idle=("runner", "num_workers", "overwrite"),
    ),
    "compact": StepKind(
        place="output",
        name="dataset",
        outputs={"output": ""},
        inputs=("stream",),
        idle=("runner", "num_workers", "overwrite", "max_tokens"),
    ),
    "train": StepKind(
        place="directory",
        name="run",
        outputs=_IN_A_RUN,
        kept=("preset",),
        inputs=(
            *("dataset", "tokenizer", "init_from", "replaced.generator", "distill.teacher"),
            "train.phases.*.dataset",
        ),
        idle=("preset", "name", "checkpoint", "cluster", "log"),
        file_keys=None,
        check=make_config,
        mends=True,
        platforms=("vertex", "gke", "tpu", "slurm"),
    ),
    "adapt": StepKind(
        place="output",
        name="adapted",
        outputs={"output": "", "preset": "preset", "dataset": "dataset", "run": "run"},
        kept=("preset", "evaluation.json"),
        inputs=(*_CORPUS, "init_from", "add_tokens"),
        idle=("checkpoint", "cluster", "log"),
        file_keys=None,
        check=make_adapt_recipe,
        mends=True,
    ),
    "finetune": StepKind(
        place="directory",
        name="run",
        outputs=_IN_A_RUN,
        kept=("preset",),
        inputs=("init_from", "data.train", "data.validation", "data.test", "data.folder", "distill.teacher"),
        idle=("name", "checkpoint", "cluster", "log"),
        file_keys=None,
        check=make_finetune_config,
        look_at=_look_at_examples,
        mends=True,
    ),
    "evaluate": StepKind(
        place="output",
        name="evaluation.json",
        outputs={"output": ""},
        inputs=("preset", "dataset", "texts", "examples"),
        mends=True,
    ),
    "convert": StepKind(place="target", name="preset", outputs={"target": ""}, inputs=("sources",), mends=True),
    "compare": StepKind(place="page", name="comparison.html", outputs={"page": ""}, inputs=("runs",), mends=True),
    "publish": StepKind(inputs=("preset", "card"), kept=()),
}
