"""Beam's DataflowRunner that hands the job over and leaves: what `prepare` does after a job is done waits for that."""

from typing import Any

from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.runners.dataflow import dataflow_runner

from clozekit.deploy.submit.handed_over import HandedOver

RUNNER = "DataflowRunner"


# Beam checks options for Dataflow by the name of the class.
class DataflowRunner(dataflow_runner.DataflowRunner):
    """Sends the job, or writes it to a template_location; then raises HandedOver with Beam's result."""

    def run_pipeline(self, pipeline: Any, options: Any, pipeline_proto: Any = None) -> Any:
        options.view_as(StandardOptions).runner = RUNNER
        raise HandedOver(super().run_pipeline(pipeline, options, pipeline_proto))
