"""The Dockerfiles: hadolint finds nothing, versions are those of constraints.txt, nobody runs as root, no credentials in."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))
ALL_FILES = [*FILES, *(ROOT / "deploy").glob("*/Dockerfile")]


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    return subprocess.run([str(program), "--no-color", str(path)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    found = hadolint(path)
    assert (found.stdout, found.returncode) == ("", 0)


def test_hadolint_finds_what_is_planted(tmp_path: Path) -> None:
    planted = tmp_path / "Dockerfile"
    planted.write_text("FROM python:latest\nRUN cd /tmp && pip install numpy\n", encoding="utf-8")
    found = hadolint(planted)
    assert found.returncode == 1
    assert {"DL3007", "DL3003", "DL3013"} <= set(re.findall(r"DL\d+", found.stdout))


def stages(path: Path) -> dict[str, list[str]]:
    """Name of a stage (its image where it has none) -> its instructions, comments left out, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("FROM "):
            found[line.split()[-1]] = []
        else:
            list(found.values())[-1].append(line)
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(";")[0].split("==") for line in lines if "==" in line)  # type: ignore[misc]


def test_workers_are_beams_own_image_with_its_entry_point() -> None:
    ((image, lines),) = stages(ROOT / "deploy" / "docker" / "beam_worker.Dockerfile").items()
    assert image == f"apache/beam_python3.11_sdk:{pins()['apache-beam']}"
    assert not [line for line in lines if line.startswith(("ENTRYPOINT", "CMD"))]
    (install,) = [line for line in lines if line.startswith("RUN")]
    assert "pip install --constraint constraints.txt" in install
    assert f"apache_beam.__version__ == '{pins()['apache-beam']}'" in install
    assert "google_crc32c.implementation == 'c'" in install and "test -x /opt/apache/beam/boot" in install
    assert lines[-1] == "USER 65532"


def test_trainers_run_the_command_as_nobody() -> None:
    found = stages(ROOT / "deploy" / "docker" / "trainer.Dockerfile")
    for target in ("cpu", "gpu"):
        assert found[target] == [f"COPY --from=build-{target} /opt/clozekit /opt/clozekit", "USER 65532"]
        (install,) = found[f"build-{target}"]
        assert install.startswith("RUN pip install --constraint constraints.txt '.[training,gcs]'")
        assert ("tensorflow[and-cuda]" in install) == (target == "gpu")
    assert 'ENTRYPOINT ["clozekit"]' in found["runtime"]


def test_only_code_and_pins_are_let_in() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert allowed == {
        "README.md",
        "constraints.txt",
        "deploy",
        "model",
        "pipelines",
        "pyproject.toml",
        "setup.py",
        "tokenizers",
    }
    # What is copied is let in.
    copied = {
        word.removeprefix("./").split("/")[0]
        for path in FILES
        for line in sum(stages(path).values(), [])
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied <= allowed
