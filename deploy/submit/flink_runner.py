"""Beam's FlinkRunner that hands the job over and leaves, as the one for Dataflow does."""

from typing import Any

from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.runners.portability import flink_runner

from clozekit.deploy.submit.handed_over import HandedOver

RUNNER = "FlinkRunner"


class FlinkRunner(flink_runner.FlinkRunner):
    """Gives the job to Beam's job server; then raises HandedOver with Beam's result."""

    def run_portable_pipeline(self, pipeline: Any, options: Any) -> Any:
        options.view_as(StandardOptions).runner = RUNNER
        raise HandedOver(super().run_portable_pipeline(pipeline, options))
