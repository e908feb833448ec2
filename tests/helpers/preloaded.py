"""What forked Python processes find loaded: models and trainers, and Beam as the command loads it for a local run."""

from clozekit.pipelines.running.light_beam import load_beam_lightly

load_beam_lightly()

import clozekit.deploy.cli.main
import clozekit.model.training.controller
import clozekit.model.training.finetuning.finetune
import clozekit.pipelines.prepare
import clozekit.pipelines.vocabulary  # noqa: F401
