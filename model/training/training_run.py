"""What every kind of run does alike: takes its directory, goes on where it stands, trains, ends, all workers together."""

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Generic, TypeVar

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from clozekit.model.common.freed_memory import keep_freed_memory
from clozekit.model.presets.checkpoint_lineage import checkpoint_lineage
from clozekit.model.presets.lineage import Lineage
from clozekit.model.presets.lineage_file import Origin, lineage_in
from clozekit.model.presets.load_presets import has_loaded_pooler, save_description
from clozekit.model.tasks.task import Task
from clozekit.model.training.cluster.endings import StoppedError, WorkerLostError
from clozekit.model.training.cluster.workers import Workers, is_lost_worker
from clozekit.model.training.flops import Dimensions, forward_flops_per_token, task_flops_per_token
from clozekit.model.training.objectives.distillation import Teacher
from clozekit.model.training.objectives.objective import Objective
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.own_functions import OWN_CODE, described
from clozekit.model.training.run_directory.checkpoints import Checkpoints, Position, Saved, training_variables
from clozekit.model.training.run_directory.run_files import CONFIG_FILE, claim_run_directory
from clozekit.model.training.run_directory.run_lock import RunLock, lock_run
from clozekit.model.training.run_directory.run_log import MetricsLog, NoLog
from clozekit.model.training.run_directory.small_files import write_text
from clozekit.model.training.run_lineage import run_lineage
from clozekit.model.training.settings.finetune_settings import FinetuneSettings
from clozekit.model.training.settings.loop_settings import LoopSettings
from clozekit.model.training.settings.run_settings import RunSettings
from clozekit.model.training.stages import Stage
from clozekit.model.training.step import LoopResult, TrainStep
from clozekit.model.training.training_loop import TrainingLoop
from clozekit.model.training.watching.callbacks import Callback, Callbacks
from clozekit.model.training.watching.tracker import trackers_of
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.stop_signals import StopSignals
from clozekit.tokenizers.storage.run_paths import CHECKPOINTS, MODEL

Result = TypeVar("Result")


class TrainingRun(ABC, Generic[Result]):
    """Base of pretraining and fine-tuning, which set the attributes when they are made. Result: what `train` returns.

    made_by: the verb that writes such directories; more_files: what it writes besides what every run of its kind does.
    has_stopped: whether going on would bring nothing better. measures: whether there is something to evaluate on.
    own_functions: key of the configuration -> the function of the user's own that it names. is_told_to_stop: whether a
    callback has ended the run. teacher: what is learned from beside the labels, if anything.
    """

    config: RunSettings | FinetuneSettings
    made_by: str
    more_files: tuple[str, ...] = ()
    directory: str
    preset_directory: str
    settings: LoopSettings
    workers: Workers
    stages: tuple[Stage, ...]
    task: Task
    teacher: Teacher | None = None
    objective: Objective
    checkpoints: Checkpoints
    step: TrainStep
    has_stopped: bool = False
    measures: bool = True
    is_told_to_stop: bool = False
    _goes_on: bool = False
    own_functions: dict[str, str]
    callbacks: Callbacks
    _stop_reason: str | None = None
    _identity: Mapping[str, object]
    _lineage: Lineage
    _lock: RunLock
    _optimizer: Optimizer

    @abstractmethod
    def to_yaml(self) -> str:
        """The whole configuration."""

    @property
    @abstractmethod
    def length(self) -> str:
        """How long the run is, for people."""

    @property
    def vocabulary_size(self) -> int:
        """Rows of the vocabulary in the preset of the run."""
        return int(self.task.backbone.vocabulary_size)

    @property
    @abstractmethod
    def name(self) -> str:
        """What the run is called where several are looked at."""

    def stop(self, reason: str) -> None:
        """Ends the run at its next look, as after its last step: it is evaluated, saved and leaves its preset."""
        self._stop_reason = reason

    def agree_to_stop(self) -> None:
        """Looks whether the run was told to stop. All workers must come here alike."""
        if not self.is_told_to_stop and self.workers.any(self._stop_reason is not None):
            self.is_told_to_stop = True
            self.say(f"stopping: {self._stop_reason}")

    def warnings(self) -> list[str]:
        """What has to be said before the first step."""
        return []

    @abstractmethod
    def begin_anew(self) -> None:
        """Gives the task the weights it begins with, where it has not got them."""

    @abstractmethod
    def go_on(self, log: MetricsLog | NoLog) -> None:
        """Takes from the log of a run that was interrupted what is not in its checkpoints."""

    @abstractmethod
    def share(self, stage: Stage, row: int, step: int, worker_index: int, num_workers: int) -> tf.data.Dataset:
        """What one worker reads of the global batches of a stage, from row number `row` of the whole run on, without end; step:
        that of the first batch."""

    @abstractmethod
    def row_length(self, stage: Stage) -> tuple[int, int]:
        """Positions of a row as it is read, and those of them that are predicted."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Measures on the validation data; "loss" is one of them."""

    @abstractmethod
    def take_evaluation(self, metrics: Mapping[str, float], log: MetricsLog | NoLog, position: Position) -> str:
        """Does what an evaluation at `position` that was logged is for; returns what is said of it. All workers come here
        alike."""

    @abstractmethod
    def finish(self, metrics: dict[str, float], position: Position) -> Result:
        """What is done behind the last step, at `position`; metrics: of the last evaluation."""

    @abstractmethod
    def data_lineages(self) -> Mapping[str, Sequence[Lineage]]:
        """What is read -> its lineages."""

    def starts(self) -> Mapping[str, str | None]:
        """What of the run began elsewhere ("init_from", "teacher", "generator") -> the preset that was named; None: nothing was."""
        distill = self.config.distill
        return {"init_from": self.config.init_from, "teacher": None if distill is None else distill.teacher}

    def batches_left(self, position: Position) -> int | None:
        """Batches until more has to be adopted of a stream that is followed; None where nothing is."""
        return None

    def adopt(self, position: Position, log: MetricsLog | NoLog, is_stopped: Callable[[], bool]) -> Position | None:
        """Waits for what is new in the stream that is followed, and takes it; None when the run is to end or to stop first.
        All workers come here alike."""
        raise NotImplementedError("this run follows no stream")

    def rate_share(self, position: Position) -> tuple[float, float] | None:
        """How far the learning rate of an endless run has risen, and what each step adds; None of all others."""
        return None

    def reading(self, stage: Stage) -> AbstractContextManager[None]:
        """Entered while rows of a stage are read: names what is wrong with them."""
        return nullcontext()

    def open_checkpoints(self, optimizer: Optimizer, identity: Mapping[str, object]) -> Checkpoints:
        """Those of this run. identity: what has to be the same for it to go on."""
        settings = self.settings.checkpoint
        self._identity = identity
        return Checkpoints(
            f"{self.directory}/{CHECKPOINTS}",
            training_variables(self.task, optimizer, optimizer.averages_by_path()),
            identity,
            settings.keep,
            settings.keep_best,
            settings.background,
        )

    def train(self) -> Result:
        """Trains to the end, going on from the newest checkpoint.

        Raises an EarlyEndError when it ends before with nothing lost: a signal came, or another worker is gone. Raises
        InputError when another run is at work in its directory.
        """
        keep_freed_memory()
        with ExitStack() as held:
            self._lock = self._take_lock(held)
            return self._train_locked()

    def _take_lock(self, held: ExitStack) -> RunLock:
        """The chief's lock. When it gets none, all workers end together."""
        lock, refused = RunLock(), None
        if self.workers.is_chief:
            try:
                lock = held.enter_context(lock_run(self.directory, self.preset_directory))
            except InputError as error:
                refused = error
        if self.workers.any(refused is not None):
            self.workers.part()
            raise refused or InputError("a run needs its directory for itself, the chief says why it has not got it")
        return lock

    def _train_locked(self) -> Result:
        try:
            with StopSignals() as signals:
                result = self._train(signals)
            # Nobody leaves while another worker may still need it.
            self.workers.any(False)
            self.workers.part()
            return result
        except tf.errors.OpError as error:
            if self.workers.spec.num_workers == 1 or not is_lost_worker(error):
                raise
            saved = self.checkpoints.found()
            raise WorkerLostError(
                f"another worker is gone ({' '.join(error.message.split())[:120]}); start all"
                f" {self.workers.spec.num_workers} again: they go on from"
                f" {saved[-1].path if saved else 'the beginning'}"
            ) from error
        finally:
            self.checkpoints.wait()

    def _train(self, signals: StopSignals) -> Result:
        position, steps = self._begin(), self.settings.steps
        if position.global_step >= steps:
            self.say(f"already trained to step {position.global_step}")
        elif position.global_step:
            self.say(f"going on from step {position.global_step} of {self.length.partition(' = ')[0]}")
        else:
            self.say(f"length: {self.length}")
        if position.global_step < steps:
            for line in self.warnings():
                self.say(line)
        chief = self.workers.is_chief
        if chief:
            tf.io.gfile.makedirs(self.directory)
            claim_run_directory(self.directory, self.made_by, self.more_files)
            write_text(f"{self.directory}/{CONFIG_FILE}", self.to_yaml())
            self._lineage = run_lineage(
                self.made_by,
                self._identity,
                self.own_functions,
                self.data_lineages(),
                self.starts(),
                lineage_in(f"{self.directory}/{MODEL}", "run") if self._goes_on else None,
                self._goes_on,
            )
            # With it a checkpoint is a model, whenever the run ends.
            save_description(f"{self.directory}/{MODEL}", self.task, self.vocabulary_size, self._lineage)
        log = MetricsLog(self.directory, position.global_step) if chief else NoLog()
        ending = "failed"
        try:
            try:
                self._check_teacher()
                self._note_own_code(position.global_step, log)
                self.go_on(log)
                self.callbacks.begin(position.global_step)
                self.agree_to_stop()
                loop = TrainingLoop(self, position, log, signals)
                metrics = loop.train()
            finally:
                log.close()
            self._optimizer.use_averages()
            result = self.finish(metrics, loop.position)
            ending = "finished"
            return result
        except StoppedError:
            self.callbacks.checkpoints(self.checkpoints.take_written())
            ending = "stopped"
            raise
        finally:
            self.callbacks.end(ending)

    def _note_own_code(self, step: int, log: MetricsLog | NoLog) -> None:
        """Notes in the log which code of the user's own the run has, and says when it is not what it was before. Raises
        InputError where another worker has other code."""
        if not self.own_functions:
            return
        code = described(self.own_functions)
        if not self._is_everywhere(code):
            raise InputError(
                f"all workers must have the same code of your own, this one has {code}; copy it to all of them"
            )
        noted = [entry["reason"] for entry in log.entries if entry["kind"] == "event" and entry["event"] == OWN_CODE]
        if noted and noted[-1] != code:
            self.say(
                f"warning: code of your own is not what it was (before: {noted[-1]}; now: {code}); from step {step} on the run"
                " goes another way than without a stop"
            )
        if not noted or noted[-1] != code:
            log.write("event", step, {"event": OWN_CODE, "reason": code})

    def _check_teacher(self) -> None:
        """Raises InputError where another worker has another teacher."""
        if self.teacher is not None and not self._is_everywhere(self.teacher.sha256):
            raise InputError(
                f"all workers must have the same teacher, this one has read {self.teacher.source} with weights of sha256"
                f" {self.teacher.sha256[:12]}; put it where all of them read the same"
            )

    def _is_everywhere(self, text: str) -> bool:
        """Whether all workers have the same text, else they end; all come here alike."""
        number = int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
        if self.workers.any(self.workers.chiefs(number) != number):
            self.workers.part()
            return False
        return True

    def _begin(self) -> Position:
        """Where the run goes on: at its newest whole checkpoint, else at the start."""
        resume = self.settings.checkpoint.resume
        if resume == "never" and self.checkpoints.found():
            raise InputError(
                f"checkpoint.resume is never and {self.checkpoints.directory} holds checkpoints; choose another"
                " `directory`, or leave checkpoint.resume out to go on from the newest"
            )
        saved = self.restore()
        self._goes_on = saved is not None
        if saved is not None:
            if self.workers.is_chief and has_loaded_pooler(f"{self.directory}/{MODEL}"):
                # No weight tells that it is not a fresh one.
                self.task.backbone.has_loaded_pooler = True
            return saved.position
        if resume == "required":
            raise InputError(
                f"checkpoint.resume is required and {self.checkpoints.directory} holds no whole checkpoint; check"
                " `directory`, or leave checkpoint.resume out to begin anew"
            )
        self.begin_anew()
        self._optimizer.begin_averages()
        return Position()

    def restore(self, at_most_step: int | None = None) -> Saved | None:
        """Puts the model and the optimizer where the chief's newest whole checkpoint (of a step of at most
        `at_most_step`) has them; None when there is none."""
        saved: Saved | None = None
        values: dict[str, np.ndarray] = {}
        if self.workers.is_chief:
            saved, values, problems = self.checkpoints.newest(at_most_step)
            self.checkpoints.set_aside(problems)
            for problem in problems:
                self.say(f"damaged checkpoint left out: {problem}")
        step = self.workers.chiefs(-1 if saved is None else saved.step)
        if step < 0:
            return None
        if not self.workers.is_chief:
            saved, values = self.checkpoints.at(step)
        self.checkpoints.assign(values)
        return saved

    def origin(self, position: Position) -> Origin:
        """What a preset of the weights that the task has now, at `position`, came from."""
        weights = {weight.path: weight.value.numpy() for weight in self.task.weights}
        checkpoint = checkpoint_lineage(self._lineage, position, weights)
        preprocessor = self.task.preprocessor
        tokenizer = None if preprocessor is None else preprocessor.tokenizer
        return Origin(self.made_by, {"checkpoint": (checkpoint,)}, tokenizer=tokenizer)

    def averaged(self) -> AbstractContextManager[None]:
        """While entered, the task has the running averages of its weights, where they are kept: what is measured and saved."""
        return self._optimizer.averaged()

    def optimizer_bytes(self) -> int:
        """Bytes of the optimizer's state on a device, running averages of the weights among them."""
        weights = {id(weight.value) for weight in self.task.weights}
        own = (variable for variable in self._optimizer.variables if id(variable) not in weights)
        return sum(int(np.prod(variable.shape)) * variable.dtype.size for variable in own)

    def flops_per_token(self, stage: int) -> float:
        """Floating-point operations of a training step for each token of a stage's rows."""
        length, predicted = self.row_length(self.stages[stage])
        flops = task_flops_per_token(self.task, length, predicted / length)
        if self.teacher is None:
            return flops
        return flops + forward_flops_per_token(Dimensions.of(self.teacher.task.backbone), length, predicted / length)

    def batches_from(self, stage_index: int, row: int, step: int) -> Iterator[dict[str, tf.Tensor]]:
        """An iterator over training batches of a stage, from row number `row` of the whole run on, the first for `step`."""
        return self.workers.deal(functools.partial(self.share, self.stages[stage_index], row, step))

    def run_loop(
        self,
        batches: Iterator[dict[str, tf.Tensor]],
        first_step: int,
        num_steps: int,
        stage: int,
        time_share: tuple[float, float],
    ) -> LoopResult:
        """Runs steps of one stage; time_share: of `train.hours`, what is used before them, and what each will use."""
        self._lock.check()
        with self.reading(self.stages[stage]):
            return self.step.run_loop(
                batches, tf.constant(first_step), tf.constant(num_steps), *map(tf.constant, time_share), stage=stage
            )

    def say(self, text: str) -> None:
        """A line on the screen, of the chief alone."""
        if self.workers.is_chief:
            tqdm.write(f"  {text}")


def callbacks_of(run: TrainingRun[Any], callbacks: Sequence[Callback], trackers: tuple[str, ...]) -> Callbacks:
    """Those that a run calls: what it was given, and behind it the trackers of its configuration. The chief alone has any."""
    is_chief = run.workers.is_chief
    return Callbacks(run, [*callbacks, *trackers_of(trackers)] if is_chief else (), is_chief)
