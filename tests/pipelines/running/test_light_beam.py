"""Beam loaded with what local runs need: without clients of clouds, silently, and still running pipelines."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from clozekit.pipelines.running.light_beam import load_beam_lightly
load_beam_lightly()
import apache_beam as beam
left_out = {"pandas", "pymongo", "google.auth", "google.cloud.storage", "apache_beam.io.gcp.bigquery"}
print(sorted(left_out & set(sys.modules)))
from clozekit.pipelines.running.runners import open_pipeline, runner_options
with open_pipeline(runner_options("FnApiRunner", 1, [])) as root:
    root | beam.Create([1, 2]) | beam.Map(lambda number: print(f"element {number}"))
import google.auth
print("later", google.auth.__name__)
"""


def test_it_is_loaded_without_clients_of_clouds_and_says_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    first, *elements, last = done.stdout.splitlines()
    assert (first, sorted(elements), last) == ("[]", ["element 1", "element 2"], "later google.auth")
    assert done.stderr == ""


def test_a_verb_of_the_commands_own_process_alone_loads_it_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a cat sat\n\na dog ran\n" * 20, encoding="utf-8")
    words = ["vocab", "--input", str(tmp_path / "a.txt"), "--output", str(tmp_path / "out"), "--vocabulary-size", "40"]
    code = "import sys; from clozekit.deploy.cli.main import main; main({}); print('google.auth' in sys.modules, file=sys.stderr)"
    said = []
    for number, arguments in enumerate(("None", repr([*words[:4], str(tmp_path / "out2"), *words[5:]]))):
        command = [sys.executable, "-c", code.format(arguments), *(words if number == 0 else [])]
        said.append(subprocess.run(command, capture_output=True, text=True, check=True).stderr.split()[-1])
    assert said == ["False", "True"]
