"""The job spec: what is refused, and with which hint; what two submissions have in common."""

import dataclasses
from pathlib import Path

import pytest

from clozekit.deploy.submit.job_spec import Accelerators, Budget, FlinkSettings, Job, changed_fields, load_job
from clozekit.tokenizers.common.errors import InputError

GOLDEN = Path(__file__).parent / "golden" / "job.yaml"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("worker=3", "has worker; did you mean num_workers?"),
        ("num_wokers=3", "has num_wokers; did you mean num_workers?"),
        ("tensorboard=x", "has tensorboard; did you mean vertex.tensorboard?"),
        ("vertex.tensorbord=x", "has vertex.tensorbord; did you mean vertex.tensorboard?"),
        ("zzz=1", "the keys there are name, image"),
        ("num_workers=many", "num_workers must be int, "),
        ("num_workers=0", "num_workers must be at least 1, got 0"),
        ("num_workers=true", "num_workers must be int, "),
        ("provisioning=cheap", "provisioning must be one of standard, spot, flex_start, got 'cheap'"),
        ("name=Bert_small", "name must be at most 40 lower-case letters"),
        ("name=" + "a" * 41, "name must be at most 40 lower-case letters"),
        ("name=null", "name must be str, "),
        ("labels={Team: lm}", "a label must be lower-case letters"),
        ("labels={clozekit-fingerprint: a}", "a label must not be the one of Clozekit"),
        ("environment={A-B: c}", "the name of a variable must be letters"),
        ("environment={TF_CONFIG: c}", "environment must leave to Clozekit what it sets, got 'TF_CONFIG'"),
        ("environment={A: true}", "has True; put it in quotes"),
        ("accelerators={kind: a, count: 0}", "accelerators.count must be at least 1, got 0"),
        ("accelerators={count: 1}", "the key accelerators.kind is needed"),
        ("accelerators=a100", "accelerators must be a group of keys, got 'a100'"),
        ("budget={cost: 5}", "budget.cost and budget.price_per_hour belong together"),
        ("budget.hours=-1", "budget.hours must be above 0"),
        ("dataflow.temp_location=temp", "must be a folder of a bucket"),
        ("dataflow.experiments=a", "dataflow.experiments must be a list, got 'a'"),
        ("kubernetes={kind: pod}", "kubernetes.kind must be one of jobset, job, got 'pod'"),
        ("kubernetes={volumes: {claim: data}}", "must be mounted at absolute paths"),
        ("slurm.partition=a b", "slurm.partition must be one word"),
        ("region=europe", "region must look like europe-west4, got 'europe'"),
        ("region=europe-west4-b", "region must look like europe-west4, got 'europe-west4-b'"),
        ("zone=europe-west4", "zone must look like europe-west4-b, got 'europe-west4'"),
        ("image=an image", "image must be one word, got 'an image'"),
        ("name", "a change must look like key=value"),
        ("name.x=1", "name must be a group of keys"),
    ],
)
def test_a_wrong_key_or_value_is_named(change: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_job(GOLDEN, [change])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n", "must be a mapping"), ("a: [", "must be YAML"), ("image: x\n", "the key name is needed")],
)
def test_a_file_that_is_no_job_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_job(tmp_path / "job.yaml")
    with pytest.raises(InputError, match="must be a readable YAML file"):
        load_job(tmp_path / "none.yaml")


def test_a_file_is_a_job(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: a\naccelerators: {kind: gpu}\nenvironment: {A: 1}\nbudget: {hours: 2}\n")
    expected = Job("a", accelerators=Accelerators("gpu"), environment={"A": "1"}, budget=Budget(hours=2.0))
    assert load_job(tmp_path / "job.yaml") == expected


def test_the_fingerprint_is_of_spec_command_and_configuration() -> None:
    job = load_job(GOLDEN)
    base = job.fingerprint(["train"], "a: 1")
    assert base == load_job(GOLDEN, ["num_workers=3"]).fingerprint(["train"], "a: 1")
    others = [
        load_job(GOLDEN, ["num_workers=4"]).fingerprint(["train"], "a: 1"),
        job.fingerprint(["train", "seed=1"], "a: 1"),
        job.fingerprint(["train"], "a: 2"),
    ]
    assert len({base, *others}) == 4


def test_keys_at_their_defaults_are_not_in_the_fingerprint() -> None:
    """A key that comes to be later does not make other jobs of those that are there."""
    job = Job("a", environment={"A": "1"}, flink=FlinkSettings(slots=2), budget=Budget(hours=2))
    assert changed_fields(job) == {
        "name": "a",
        "environment": {"A": "1"},
        "flink": {"slots": 2},
        "budget": {"hours": 2},
    }
    assert dataclasses.replace(job, num_workers=1, labels={}).fingerprint([], None) == job.fingerprint([], None)
    assert dataclasses.replace(job, flink=FlinkSettings(slots=3)).fingerprint([], None) != job.fingerprint([], None)


@pytest.mark.parametrize(
    ("budget", "num_workers", "seconds"),
    [
        (Budget(), 4, None),
        (Budget(hours=1.5), 4, 5400),
        (Budget(cost=600, price_per_hour=10), 3, 72000),
        (Budget(hours=30, cost=600, price_per_hour=10), 3, 72000),
        (Budget(hours=10, cost=600, price_per_hour=10), 3, 36000),
        (Budget(hours=0.001), 1, 60),
    ],
)
def test_a_budget_is_a_time(budget: Budget, num_workers: int, seconds: int | None) -> None:
    assert budget.seconds(num_workers) == seconds
