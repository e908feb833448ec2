"""What `clozekit doctor` looks at of data: a bucket, a dataset, a preset."""

import uuid
from collections.abc import Iterable

from clozekit.deploy.doctor.findings import OK, Finding
from clozekit.tokenizers.common.errors import InputError


def bucket(url: str) -> Iterable[Finding]:
    """Lists, writes, reads and deletes a probe below `url`, through both clients that Clozekit uses."""
    import tensorflow as tf

    from clozekit.tokenizers.storage.conditional_writes import ChangedMeanwhileError, write_if_unchanged
    from clozekit.tokenizers.storage.file_systems import open_file_system

    if "://" not in url:
        raise InputError(f"--bucket must be a URL, got {url!r}; write it as gs://BUCKET or gs://BUCKET/FOLDER")
    probe = f"{url.rstrip('/')}/.clozekit-doctor-{uuid.uuid4().hex[:8]}"
    filesystem, path = open_file_system(probe)
    write_if_unchanged(probe, b"probe", None)
    try:
        # A listing is a right of its own.
        listed = path in filesystem.ls(path.rpartition("/")[0], detail=False)
        guarded = False
        try:
            write_if_unchanged(probe, b"another", None)
        except ChangedMeanwhileError:
            guarded = True
        with tf.io.gfile.GFile(probe, "rb") as stream:
            content = stream.read()
        with tf.io.gfile.GFile(f"{probe}-2", "wb") as stream:
            stream.write(content)
        tf.io.gfile.remove(f"{probe}-2")
    finally:
        filesystem.rm_file(path)
    if content != b"probe" or not listed or not guarded or filesystem.exists(path):
        raise InputError(
            f"what is written to {url} must be what is read, be listed, be kept from a second writer, and go when it is deleted, it"
            " is not so; write to a bucket without a caching proxy in between"
        )
    yield Finding("bucket", OK, f"{url}: listed; a probe written, read and deleted")


def dataset(directory: str) -> Iterable[Finding]:
    from clozekit.model.reading.dataset_reader import check_shards
    from clozekit.pipelines.dataset.manifest import read_manifest
    from clozekit.pipelines.dataset.manifest_schema import check_described
    from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

    manifest = read_manifest(directory)
    check_shards(directory, manifest)
    tokenizer = load_tokenizer(f"{directory.rstrip('/')}/tokenizer")
    if tokenizer.sha256() != manifest.tokenizer.sha256:
        raise InputError(f"{directory}/tokenizer must be the one that made the ids, it is another; prepare it again")
    check_described(manifest, tokenizer, directory)
    rows = ", ".join(f"{split.rows:,} rows of {name}" for name, split in manifest.splits.items())
    yield Finding("dataset", OK, f"{directory}: {rows}, every shard of its size (`clozekit verify` reads every byte)")


def preset(name: str) -> Iterable[Finding]:
    from clozekit.model import MaskedLM

    task = MaskedLM.from_preset(name, compile=False)
    yield Finding("preset", OK, f"{name}: {type(task).__name__}, {task.count_params():,} parameters")
