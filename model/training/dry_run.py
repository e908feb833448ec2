"""What a training run would do: its configuration, its data, its size and cost, and whether a step of it compiles."""

import dataclasses
import time
from collections.abc import Iterator

import tensorflow as tf

from clozekit.model.training.cluster.workers import Workers
from clozekit.model.training.controller import Run
from clozekit.model.training.flops import (
    FLOPS_FORMULA,
    MEMORY_FORMULA,
    Dimensions,
    Memory,
    teacher_memory,
    training_memory,
)
from clozekit.model.training.settings.run_settings import PAIRS, RunSettings
from clozekit.tokenizers.common.errors import InputError


def dry_run(config: RunSettings, workers: Workers | None = None) -> Iterator[str]:
    """Lines for people, each when it is known. Raises InputError where training would; writes nothing."""
    yield "configuration, with every default:"
    yield config.to_yaml().rstrip()
    run = Run(config, workers)
    yield ""
    yield from describe_dataset(run)
    yield ""
    started = time.monotonic()
    try:
        shapes = run.try_step()
    except tf.errors.OpError as error:
        raise InputError(
            f"one step must compile and run on this machine, it does not ({type(error).__name__}:"
            f" {str(error).strip().splitlines()[0][:200]}); lower train.micro_batch_size, or set train.xla=false"
        ) from error
    seconds = time.monotonic() - started
    row_length, num_slots = (int(shapes[name].shape[1]) for name in ("token_ids", "mask_positions"))
    yield from describe_model(run, row_length, num_slots)
    yield ""
    yield f"compile check    one step on rows of padding, compilation included: {seconds:.1f} s"


def describe_dataset(run: Run) -> Iterator[str]:
    config, manifest = run.config, run.manifest
    yield f"dataset          {config.dataset}, sha256 {manifest.dataset_sha256[:12]}"
    tokenizer = manifest.tokenizer
    yield f"tokenizer        {tokenizer.class_name} of {tokenizer.vocabulary_size:,} pieces, sha256 {tokenizer.sha256[:12]}"
    for name, split in manifest.splits.items():
        num_shards = len(split.shards)
        yield (
            f"{name:<16} {split.rows:,} rows of up to {manifest.sequence_length} tokens in {num_shards}"
            f" shard{'s' if num_shards > 1 else ''}, {split.tokens:,} tokens, fill rate {manifest.fill_rate(name):.2%}"
        )
    yield f"to be trained    {run.length}, {config.train.global_batch_size:,} rows a step"


def describe_model(run: Run, row_length: int, num_slots: int) -> Iterator[str]:
    config, sizes = run.config, Dimensions.of(run.task.backbone)
    flops = run.flops_per_token(0)
    replicas = run.workers.num_replicas
    rows = config.train.global_batch_size // replicas // run.stages[0].micro_batches(replicas)
    yield f"devices          {replicas}, in {run.workers.spec.num_workers} processes"
    yield f"parameters       {run.task.count_params():,}"
    if run.teacher is not None:
        yield f"teacher          {run.teacher.source}, {run.teacher.task.count_params():,} parameters, not trained"
    if config.objective == PAIRS:
        kind = run.manifest.settings["prepare"]["pairs"]
        yield f"objective        masked tokens and sentence pairs (--pairs {kind}), the mean of each"
    generator = run.task.generator
    if config.replaced is not None and generator is not None:
        sizes_of_it = f"{generator.num_layers} layers of {generator.hidden_dim}"
        yield f"objective        masked tokens by a generator of {sizes_of_it}, and {config.replaced.weight:g} times the replaced tokens"
    yield f"masked           {describe_rates(run)}"
    yield f"prediction slots {num_slots} a row of {row_length}"
    yield f"FLOPs a token    {flops:,.0f} = {FLOPS_FORMULA}"
    if config.train.hours is None:
        places = config.train.last_step * config.train.global_batch_size * row_length
        yield f"FLOPs in all     {flops * places:.3g}"
    counted, recompute = run.task.count_params(), config.train.recompute
    slots = 0 if generator is not None else num_slots
    memory = training_memory(sizes, counted, rows, row_length, slots, is_recomputed=recompute)
    memory = dataclasses.replace(memory, optimizer=run.optimizer_bytes())
    if generator is not None:
        sizes_there = Dimensions.of(generator)
        of_generator = training_memory(sizes_there, 0, rows, row_length, num_slots, is_recomputed=recompute)
        memory = dataclasses.replace(memory, activations=memory.activations + of_generator.activations)
    if run.teacher is not None:
        task = run.teacher.task
        more = teacher_memory(Dimensions.of(task.backbone), task.count_params(), rows, row_length, num_slots)
        memory = dataclasses.replace(memory, teacher=more)
    yield from describe_memory(memory, rows)


def describe_rates(run: Run) -> str:
    """The share of tokens that is masked, over the run: "0.3 for 600 steps, then 0.05 for 400 steps"."""
    masking = run.config.masking
    if masking.final_rate is not None:
        return f"{masking.train_rate:.3g} at first, {masking.final_rate:.3g} at the last step, in a straight line"
    parts: list[tuple[float, int]] = []
    for stage in run.stages:
        steps = stage.end_step - stage.first_step
        if parts and parts[-1][0] == stage.mask_rate:
            steps += parts.pop()[1]
        parts.append((stage.mask_rate, steps))
    if len(parts) == 1:
        return f"{parts[0][0]:.3g} of the tokens"
    return ", then ".join(f"{rate:.3g} for {steps:,} steps" for rate, steps in parts)


def describe_memory(memory: Memory, rows: int) -> Iterator[str]:
    """The estimate for one device."""
    yield f"memory           about {readable_bytes(memory.total)} on a device, for micro-batches of {rows:,} rows:"
    for name in ("weights", "gradients", "optimizer", "activations", *(("teacher",) if memory.teacher else ())):
        yield f"  {name:<14} {readable_bytes(getattr(memory, name))}"
    yield f"  {MEMORY_FORMULA}"


def readable_bytes(value: int) -> str:
    """Three digits and a unit: 1.23 GB."""
    size, unit = float(value), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
