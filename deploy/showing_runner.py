"""Beam's DataflowRunner that sends nothing: it stages into a local folder and gives the request that it would send."""

import tempfile
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions, TestOptions
from apache_beam.runners.dataflow import dataflow_runner

from clozekit.deploy.sending_runner import RUNNER, HandedOver


# Beam checks options for Dataflow by the name of the class.
class DataflowRunner(dataflow_runner.DataflowRunner):
    """Stages into a local folder and sends nothing; then raises HandedOver with the request as JSON."""

    def run_pipeline(self, pipeline: Any, options: Any, pipeline_proto: Any = None) -> Any:
        options.view_as(StandardOptions).runner = RUNNER
        # It kept Beam from asking for the buckets; here it would keep it from making the request.
        options.view_as(TestOptions).dry_run = False
        google = options.view_as(GoogleCloudOptions)
        staging = google.staging_location
        with tempfile.TemporaryDirectory(prefix="clozekit-dataflow-") as folder:
            # Beam refuses local places when a pipeline is made, and takes them when it runs.
            google.staging_location, google.template_location = folder, f"{folder}/request.json"
            google.no_auth = True
            super().run_pipeline(pipeline, options, pipeline_proto)
            text = (Path(folder) / "request.json").read_text(encoding="utf-8")
        raise HandedOver(text.replace(folder, staging))
