"""Processes that ask the hubs, forked from one that has imported what the hubs' clients are built on, but no client itself.

The clients read their settings when they are imported: each use of them is a process of its own, as it is for users.
"""

import atexit
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_PARENT = """
import json, os, sys, traceback
import httpx2, kagglesdk.kaggle_client, requests, tqdm, yaml
import clozekit.tokenizers.hub.open_preset, clozekit.tokenizers.hub.publish_targets
assert not {"huggingface_hub.constants", "kagglehub"} & set(sys.modules), "the clients read their settings on import"
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(job["environment"])
        for descriptor, path in ((1, job["output"]), (2, job["errors"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.argv = ["-c", *job["arguments"]]
        status = 0
        try:
            exec(job["script"], {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def _parent() -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    # It ends with its input.
    atexit.register(process.communicate)
    return process


def output_of(script: str, environment: Mapping[str, str], *arguments: str) -> str:
    """What `python -c SCRIPT ARGUMENTS` prints, which must end well."""
    parent = _parent()
    assert parent.stdin is not None and parent.stdout is not None
    with tempfile.TemporaryDirectory() as directory:
        places = {name: f"{directory}/{name}" for name in ("output", "errors")}
        job = {"script": script, "environment": dict(environment), "arguments": arguments, **places}
        print(json.dumps(job), file=parent.stdin, flush=True)
        assert parent.stdout.readline() == "0\n", Path(places["errors"]).read_text(encoding="utf-8")
        return Path(places["output"]).read_text(encoding="utf-8")
