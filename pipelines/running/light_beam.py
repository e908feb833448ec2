"""Beam as local runs need it: loaded without the clients of clouds and databases, and without pandas."""

import logging
from collections.abc import Callable

from clozekit.tokenizers.common.hidden_packages import hidden_packages
from clozekit.tokenizers.common.import_hooks import around_import
from clozekit.tokenizers.common.seldom_collection import paused_collection

# Beam loads each of these when it finds it, more than half of its 1.0 CPU-seconds, for sources, sinks and runners of its own;
# ours read and write through fsspec, which loads its clients itself.
_NOT_NEEDED = (
    *("pandas", "pymongo", "google.auth", "google.cloud.storage"),
    *("apache_beam.io.gcp.bigquery", "apache_beam.io.gcp.gcsfilesystem"),
)


def load_beam_lightly() -> None:
    """Sees to it that Beam, when it is first imported, is loaded with what a local run needs. It is not loaded now.

    Only for a process that runs nothing but our local pipelines: Beam stays without Dataflow, BigQuery and gs:// in it.
    """
    around_import("apache_beam", _lightly)


def _lightly(load: Callable[[], None]) -> None:
    # It warns that MongoDB's package is missing.
    logging.getLogger("apache_beam.io.mongodbio").setLevel(logging.ERROR)
    with hidden_packages(_NOT_NEEDED), paused_collection():
        load()
