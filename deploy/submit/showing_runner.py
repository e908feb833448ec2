"""Beam's DataflowRunner that sends nothing: it stages into a local folder and gives the request that it would send."""

import tempfile
import time
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions, TestOptions
from apache_beam.runners.dataflow import dataflow_runner

from clozekit.deploy.submit.handed_over import HandedOver
from clozekit.deploy.submit.sending_runner import RUNNER


# Beam checks options for Dataflow by the name of the class.
class DataflowRunner(dataflow_runner.DataflowRunner):
    """Stages into a local folder and sends nothing; then raises HandedOver with the request as JSON."""

    def run_pipeline(self, pipeline: Any, options: Any, pipeline_proto: Any = None) -> Any:
        options.view_as(StandardOptions).runner = RUNNER
        # It kept Beam from asking for the buckets; here it would keep it from making the request.
        options.view_as(TestOptions).dry_run = False
        google = options.view_as(GoogleCloudOptions)
        # What Beam adds to the folders of a bucket when it sends.
        suffix = f"{google.job_name}.{time.time():f}"
        staging = f"{google.staging_location}/{suffix}"
        google.temp_location = f"{google.temp_location}/{suffix}"
        with tempfile.TemporaryDirectory(prefix="clozekit-dataflow-") as folder:
            # Beam refuses local places when a pipeline is made, and takes them when it runs.
            google.staging_location, google.template_location = folder, f"{folder}/request.json"
            google.no_auth = True
            super().run_pipeline(pipeline, options, pipeline_proto)
            text = (Path(folder) / "request.json").read_text(encoding="utf-8")
        at_service = staging.replace("gs:/", GoogleCloudOptions.STORAGE_API_SERVICE)
        raise HandedOver(text.replace(f'"location": "{folder}', f'"location": "{at_service}').replace(folder, staging))
