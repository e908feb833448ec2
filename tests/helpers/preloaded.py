"""What forked Python processes find loaded: models and trainers, and Beam as the command loads it for a local run."""

import importlib

from clozekit.pipelines.running.light_beam import load_beam_lightly

load_beam_lightly()
for name in (
    "clozekit.deploy.cli.main",
    "clozekit.model.training.controller",
    "clozekit.model.training.finetuning.finetune",
    "clozekit.pipelines.prepare",
    "clozekit.pipelines.vocabulary",
):
    importlib.import_module(name)
