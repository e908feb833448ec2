"""The loop of a run: steps, then what is due at their end: log, evaluate, save, stop, go back."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import tensorflow as tf

from clozekit.model.training.cluster.endings import StoppedError
from clozekit.model.training.cluster.workers import Workers
from clozekit.model.training.measures import LoopTimes, peak_memory_bytes, speed
from clozekit.model.training.objectives.divergence import Trouble, watch_loop
from clozekit.model.training.objectives.objective import Objective, Sums
from clozekit.model.training.run_directory.checkpoints import Checkpoints, Position, Saved, best_of
from clozekit.model.training.run_directory.run_log import Entry, MetricsLog, NoLog
from clozekit.model.training.settings.loop_settings import LoopSettings
from clozekit.model.training.stages import Stage, stage_at
from clozekit.model.training.step import LoopResult
from clozekit.model.training.time_budget import TimeBudget
from clozekit.model.training.watching.callbacks import Callbacks
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.progress_bar import progress_bar
from clozekit.tokenizers.common.stop_signals import StopSignals


class Trained(Protocol):
    """What the loop needs of a run; `TrainingRun` says what each is."""

    settings: LoopSettings
    workers: Workers
    checkpoints: Checkpoints
    stages: tuple[Stage, ...]
    objective: Objective
    has_stopped: bool
    measures: bool
    is_told_to_stop: bool
    callbacks: Callbacks

    @property
    def length(self) -> str: ...
    def batches_left(self, position: Position) -> int | None: ...
    def adopt(self, position: Position, log: MetricsLog | NoLog, is_stopped: Callable[[], bool]) -> Position | None: ...
    def rate_share(self, position: Position) -> tuple[float, float] | None: ...
    def flops_per_token(self, stage: int) -> float: ...
    def batches_from(self, stage_index: int, row: int, step: int) -> Iterator[dict[str, tf.Tensor]]: ...
    def run_loop(
        self,
        batches: Iterator[dict[str, tf.Tensor]],
        first_step: int,
        num_steps: int,
        stage: int,
        time_share: tuple[float, float],
    ) -> LoopResult: ...
    def averaged(self) -> AbstractContextManager[None]: ...
    def evaluate(self) -> dict[str, float]: ...
    def take_evaluation(self, metrics: Mapping[str, float], log: MetricsLog | NoLog, position: Position) -> str: ...
    def restore(self, at_most_step: int | None = None) -> Saved | None: ...
    def agree_to_stop(self) -> None: ...
    def say(self, text: str) -> None: ...


class TrainingLoop:
    """Trains a run from a position to its last step. All workers go through it alike; the chief alone writes."""

    def __init__(self, run: Trained, position: Position, log: MetricsLog | NoLog, signals: StopSignals) -> None:
        self._run = run
        self._settings = run.settings
        self._log = log
        self._signals = signals
        self._position = position
        self._budget = TimeBudget(run.settings.hours, position.used_seconds, run.workers)
        self._batches: Iterator[dict[str, tf.Tensor]] = iter(())
        if run.batches_left(position) != 0:
            self._open_batches()
        self._metrics: dict[str, float] = {}
        spent = [entry["cost"] for entry in log.entries if "cost" in entry]
        self._cost = spent[-1] if spent else 0.0
        self._logged = time.monotonic()

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self._position

    def train(self) -> dict[str, float]:
        """Returns the last validation metrics. Raises StoppedError on a signal, when everything is saved."""
        steps = None if self._settings.hours is not None else self._settings.steps
        start = self._position.global_step
        chief = self._run.workers.is_chief
        with progress_bar(
            total=steps, initial=start, desc="training", unit=" steps", smoothing=0.05, disable=not chief
        ) as bar:
            while not self._is_over():
                metrics: dict[str, float] | None = None
                if self._run.batches_left(self._position) == 0:
                    self._adopt()
                    continue
                trouble = self._advance()
                self._tell()
                if trouble is None and self._run.measures and self._due(self._settings.evaluate_every_steps):
                    metrics, trouble = self._evaluate()
                if trouble is not None:
                    self._mend(trouble)
                else:
                    self._save_if_due(metrics)
                bar.update(self._position.global_step - bar.n)
                if self._log.entries:
                    bar.set_postfix_str(_described(self._log.entries), refresh=False)
        checkpoints = self._run.checkpoints
        checkpoints.wait()
        self._run.callbacks.checkpoints(checkpoints.take_written())
        if self._metrics:
            return self._metrics
        with self._run.averaged():
            return self._run.evaluate()

    def _is_over(self) -> bool:
        ended = self._position.global_step == self._settings.steps or self._budget.is_over
        return ended or self._run.has_stopped or self._run.is_told_to_stop

    def _due(self, every_steps: int) -> bool:
        return self._position.global_step % every_steps == 0 or self._is_over()

    def _tell(self) -> None:
        """Tells the callbacks of the steps behind, and of checkpoints that are there now."""
        callbacks = self._run.callbacks
        if callbacks:
            entry = self._log.entries[-1]
            callbacks.log(entry["step"], {name: value for name, value in entry.items() if name not in ("kind", "step")})
            callbacks.checkpoints(self._run.checkpoints.take_written())
        self._run.agree_to_stop()

    def _open_batches(self) -> None:
        """Reads on where the run stands, in the dataset and the size of batch of the stage it is in."""
        step = self._position.global_step
        self._stage = stage_at(self._run.stages, step)
        self._batches = self._run.batches_from(self._stage, self._position.next_row, step)

    def _adopt(self) -> None:
        """Takes what is new in the stream that the run follows, and saves that it did; where it was stopped meanwhile, saves
        where it stands."""
        adopted = self._run.adopt(self._position, self._log, self._signals.is_received)
        if adopted is None:
            metrics: dict[str, float] | None = None
            done = [entry["step"] for entry in self._log.entries if entry["kind"] == "validation"]
            if self._is_over() and self._run.measures and done[-1:] != [self._position.global_step]:
                metrics, _ = self._evaluate()
            self._save_if_due(metrics)
            return
        self._position = adopted
        self._open_batches()
        if self._run.workers.is_chief:
            self._log.flush(at_once=True)
            self._run.checkpoints.save(self._position)

    def _advance(self) -> Trouble | None:
        """Runs steps up to the next thing to do, and logs them; says when the loss has gone wrong."""
        settings, position = self._settings, self._position
        ends = (settings.steps_per_loop, settings.evaluate_every_steps, settings.checkpoint.every_steps)
        step = position.global_step
        if step == self._run.stages[self._stage].end_step:
            self._open_batches()
        stage = self._run.stages[self._stage]
        end = min([stage.end_step, *((step // every + 1) * every for every in ends)])
        left = self._run.batches_left(position)
        end = end if left is None else min(end, step + left)
        self._budget.look()
        end = min(end, step + (self._budget.steps_left() or end))
        share = self._run.rate_share(position) or self._budget.share()
        started = time.monotonic()
        result = self._run.run_loop(self._batches, step, end - step, self._stage, share)
        sums = Sums(*(float(part) for part in result.sums))
        tokens, skipped = int(result.counts.tokens), int(result.skipped)
        times = LoopTimes(
            end - step, tokens, int(result.counts.places), time.monotonic() - started, float(result.wait_seconds)
        )
        self._budget.look(end - step, times.seconds)
        if self._budget.is_over:
            self._budget.use_up()
        objective = self._run.objective
        watch, trouble = watch_loop(
            position.watch, settings.divergence, end - step, skipped, objective.minimised(sums), sums.count
        )
        self._position = dataclasses.replace(
            position,
            global_step=end,
            next_row=position.next_row + (end - step) * stage.global_batch_size,
            tokens_seen=position.tokens_seen + tokens,
            used_seconds=self._budget.used_seconds,
            watch=watch,
        )
        values = {
            # Of the steps that were not skipped; no numbers when all were.
            **objective.measures(sums),
            "learning_rate": float(result.learning_rate),
            "gradient_norm": float(result.gradient_norm),
            "skipped_steps": skipped,
            "tokens_seen": self._position.tokens_seen,
            "rows_seen": self._position.next_row,
        }
        if slots := int(result.counts.slots):
            # How many of the slots for predictions were used, and for how many positions there was none.
            values |= {"slot_use": int(sums.count) / slots, "slot_overflow": int(result.counts.overflow)}
            # Of all steps, the skipped ones too, which have no sums: so no number where all were.
            values["masked_share"] = sums.count / tokens if tokens and not skipped else float("nan")
            values["unreadable_rows"] = int(result.counts.blank_rows)
        self._log.write("train", end, values | self._measured(times))
        return trouble

    def _measured(self, times: LoopTimes) -> dict[str, float]:
        run, config = self._run, self._settings.log
        values = speed(times, run.flops_per_token(self._stage), run.workers.num_replicas, config)
        values["memory_bytes"] = peak_memory_bytes()
        now = time.monotonic()
        if config.price_per_hour is not None:
            # Evaluations and checkpoints cost too; what was lost by a kill is not known here.
            self._cost += config.price_per_hour * (now - self._logged) / 3600
            values["cost"] = self._cost
        self._logged = now
        return values

    def _evaluate(self) -> tuple[dict[str, float], Trouble | None]:
        with self._run.averaged():
            return self._evaluate_weights()

    def _evaluate_weights(self) -> tuple[dict[str, float], Trouble | None]:
        metrics, step = self._run.evaluate(), self._position.global_step
        self._log.write("validation", step, metrics)
        if not math.isfinite(metrics["loss"]):
            # Only weights that are no numbers give such a loss, and since they are none every step was skipped.
            reason = f"the validation loss must be a number, it is {metrics['loss']}"
            return metrics, Trouble(reason, self._position.watch.num_bad_steps)
        self._metrics = metrics
        self._run.say(f"step {step}: {self._run.take_evaluation(metrics, self._log, self._position)}")
        self._run.callbacks.evaluate(step, metrics)
        self._run.agree_to_stop()
        return metrics, None

    def _save_if_due(self, metrics: dict[str, float] | None) -> None:
        """Saves when it is time, when the evaluation was the best so far, and before it stops."""
        signal = self._signals.received
        stop = self._run.workers.any(signal is not None)
        checkpoints, config = self._run.checkpoints, self._settings.checkpoint
        loss = None if metrics is None else metrics["loss"]
        if self._run.workers.is_chief:
            saves = stop or self._due(config.every_steps) or (config.keep_best and self._is_best(loss))
            # Lines of the steps before a checkpoint must be there when it is.
            self._log.flush(at_once=saves)
            if saves:
                checkpoints.save(self._position, loss)
        if stop and not self._is_over():
            checkpoints.wait()
            self._run.workers.part()
            raise StoppedError(
                f"stopped by {'another worker' if signal is None else signal.name}, saved at step"
                f" {self._position.global_step} of {self._run.length.partition(' = ')[0]}; run it again to resume"
            )

    def _is_best(self, loss: float | None) -> bool:
        if loss is None:
            return False
        self._run.checkpoints.wait()
        best = best_of(self._run.checkpoints.found())
        return best is None or best.validation_loss is None or loss < best.validation_loss

    def _mend(self, trouble: Trouble) -> None:
        """Goes back to the last good checkpoint and on behind the rows read since, or raises InputError naming it."""
        run, config, position = self._run, self._settings.divergence, self._position
        run.checkpoints.wait()
        good_until = max(0, position.global_step - trouble.num_steps)
        if config.action == "stop" or position.num_returns >= config.max_returns:
            before = [saved for saved in run.checkpoints.found() if saved.step <= good_until]
            known = f"the last good checkpoint is {before[-1].path}" if before else "there is no checkpoint from before"
            returned = f", after going back {position.num_returns} times" if position.num_returns else ""
            run.workers.part()
            raise InputError(
                f"{trouble.reason} (step {position.global_step}{returned}); {known}; begin a run in another `directory`"
                " from it (init_from) with a lower optimizer.learning_rate, or go on with divergence.action=go_back,"
                " which leaves out the rows read since"
            )
        saved = run.restore(good_until)
        if saved is None:
            run.workers.part()
            raise InputError(
                f"{trouble.reason} (step {position.global_step}), and there is no checkpoint from before to go back to;"
                " lower optimizer.learning_rate or checkpoint.every_steps"
            )
        good = saved.position
        rows = position.next_row - good.next_row
        self._position = dataclasses.replace(
            good,
            next_row=position.next_row,
            heads=position.heads,
            rows_left_out=good.rows_left_out + rows,
            num_returns=position.num_returns + 1,
            used_seconds=position.used_seconds,
        )
        if run.workers.is_chief:
            run.checkpoints.remove_after(good.global_step)
        self._log.go_back(good.global_step)
        # The step after: a run that goes on from that very checkpoint comes here again.
        event: dict[str, float | str] = {"event": "went_back", "from_step": position.global_step, "rows_left_out": rows}
        self._log.write("event", good.global_step + 1, event | {"reason": trouble.reason})
        run.say(
            f"{trouble.reason}: went back from step {position.global_step} to {good.global_step}, {rows} rows left out"
        )
        self._open_batches()


def _described(entries: list[Entry]) -> str:
    last = next((entry for entry in reversed(entries) if entry["kind"] == "train"), None)
    if last is None or last["loss"] is None:
        return "every step skipped"
    shown = [f"loss {last['loss']:.3f}"]
    if "distillation_loss" in last:
        shown.append(f"distillation {last['distillation_loss']:.3f}")
    if "accuracy" in last:
        shown.append(f"accuracy {last['accuracy']:.1%}")
    if last.get("pair_accuracy") is not None:
        shown.append(f"pairs {last['pair_accuracy']:.1%}")
    if last.get("detection_accuracy") is not None:
        shown.append(f"detection {last['detection_accuracy']:.1%}")
    shown += [f"{last['tokens_per_second']:,.0f} tokens/s", f"data wait {last['data_wait_share']:.1%}"]
    return ", ".join(shown)
