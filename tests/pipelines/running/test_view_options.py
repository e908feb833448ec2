"""Beam's options with views that are kept: what one view is given, all have, before and after they were pickled."""

import pickle

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, WorkerOptions

from clozekit.pipelines.running.view_options import ViewOptions

ARGUMENTS = ["--runner=FlinkRunner", "--num_workers=3"]


def test_views_are_kept_and_share_what_they_are_given() -> None:
    options, beams = ViewOptions(ARGUMENTS), PipelineOptions(ARGUMENTS)
    for one in (options, beams):
        one.view_as(StandardOptions).streaming = True
        assert (one.view_as(StandardOptions).runner, one.view_as(StandardOptions).streaming) == ("FlinkRunner", True)
        assert one.view_as(StandardOptions).view_as(WorkerOptions).num_workers == 3
        one.view_as(WorkerOptions).num_workers = 4
        assert one.view_as(StandardOptions).view_as(WorkerOptions).num_workers == 4
    assert options.view_as(StandardOptions) is options.view_as(StandardOptions)
    assert options.get_all_options(drop_default=True) == beams.get_all_options(drop_default=True)


def test_options_that_were_pickled_have_views_of_their_own() -> None:
    options = ViewOptions(ARGUMENTS)
    options.view_as(WorkerOptions).num_workers = 4
    again = pickle.loads(pickle.dumps(options))
    assert again.view_as(WorkerOptions).num_workers == 4
    again.view_as(WorkerOptions).num_workers = 5
    assert options.view_as(WorkerOptions).num_workers == 4
