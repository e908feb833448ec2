"""The answer of verbs that build datasets: for people what each holds and where its report is, or JSON."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from clozekit.deploy.cli.json_answer import DATASET_KEYS, JsonAnswer

if TYPE_CHECKING:
    from clozekit.pipelines.dataset.manifest import Manifest

ANSWER = JsonAnswer(("datasets",), each=(*DATASET_KEYS, "built", "report"))


def show_datasets(
    results: Mapping[str, tuple["Manifest", bool]],
    as_json: bool,
    already: str,
    advice: Callable[["Manifest"], Sequence[str]] = lambda manifest: (),
) -> None:
    """results: directory -> the manifest there, and whether it had to be built; already: what is said where it had not;
    advice: further lines about a dataset, for people alone."""
    from clozekit.pipelines.dataset.build_report import REPORT_FILE
    from clozekit.pipelines.dataset.describe import answer_of, describe_manifest
    from clozekit.pipelines.storage.files import join

    if as_json:
        ANSWER.show(
            datasets=[
                {**answer_of(manifest, directory), "built": built, "report": join(directory, REPORT_FILE)}
                for directory, (manifest, built) in results.items()
            ]
        )
        return
    for directory, (manifest, built) in results.items():
        if not built:
            print(already)
        print("\n".join([*describe_manifest(manifest, directory), "", f"report    {join(directory, REPORT_FILE)}"]))
        for line in advice(manifest):
            print(line)
