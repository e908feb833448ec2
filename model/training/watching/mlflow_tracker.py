"""MLflow: a run there for the run here. MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME are its own settings."""

import os
import time
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from clozekit.model.training.watching.callbacks import Watched
from clozekit.model.training.watching.tracker import Tracker

EXPERIMENT = "clozekit"
# What a run is there when it has ended here. A stopped one can go on.
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
# MLflow takes no more at once, and no longer ones.
_PARAMETERS_AT_ONCE, _LONGEST = 100, 6000


class NamedTracker(Tracker):
    """Through the client alone: nothing of MLflow's own current run is touched."""

    def begin(self, run: Watched, settings: Mapping[str, Any], known: str | None) -> str:
        self._client = MlflowClient()
        if known is not None:
            self._client.update_run(known, status="RUNNING")
            self._id = known
            return known
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        self._id = self._client.create_run(number, run_name=run.name).info.run_id
        parameters = [Param(key, str(value)[:_LONGEST]) for key, value in settings.items()]
        for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
            self._client.log_batch(self._id, params=parameters[start : start + _PARAMETERS_AT_ONCE])
        return str(self._id)

    def send(self, step: int, values: Mapping[str, float]) -> None:
        now = round(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def end(self, ending: str) -> None:
        self._client.set_terminated(self._id, _STATUS[ending])
