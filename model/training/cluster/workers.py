"""The workers of a run: their tf.distribute strategy, what they agree on, how rows are dealt to their replicas."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from clozekit.model.common.without_autograph import without_autograph
from clozekit.model.training.cluster.endings import WorkerLostError
from clozekit.model.training.cluster.find_cluster import choose_strategy, resolve_cluster
from clozekit.model.training.cluster.worker_addresses import ClusterSpec
from clozekit.model.training.settings.loop_settings import ClusterSettings
from clozekit.tokenizers.common.errors import InputError

# What the surviving workers get to see when another one is gone.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


class Workers:
    """All processes of a run as one of them sees them."""

    def __init__(self, strategy: tf.distribute.Strategy, spec: ClusterSpec) -> None:
        self.strategy = strategy
        self.spec = spec
        self.num_replicas: int = strategy.num_replicas_in_sync
        self._sum = tf.function(self._sum_over_workers, autograph=False)

    @property
    def is_chief(self) -> bool:
        return self.spec.is_chief

    @property
    def num_local_replicas(self) -> int:
        return self.num_replicas // self.spec.num_workers

    def _sum_over_workers(self, value: tf.Tensor) -> tf.Tensor:
        def replica_sum(mine: tf.Tensor) -> tf.Tensor:
            replica = tf.distribute.get_replica_context()
            # An argument has no device, and tf.distribute reduces only what has one.
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(mine))

        # Each worker's value counts once for each of its replicas.
        return first_of(self.strategy, self.strategy.run(replica_sum, (value,))) // self.num_local_replicas

    def sum(self, value: int) -> int:
        """The sum of the workers' values; every worker must call this, and gets the same."""
        return value if self.spec.num_workers == 1 else int(self._sum(tf.constant(value, tf.int64)))

    def any(self, flag: bool) -> bool:
        """Whether any worker says so; every worker must call this, and gets the same answer."""
        return self.sum(int(flag)) > 0

    def part(self) -> None:
        """Comes before a worker leaves, once all of them know that they end here; every worker must call this.

        Who has an answer of `any` can be gone before the others have read it from them. Whoever is here has that answer,
        and all the others have it when one gets through: so a worker that is lost here has left, and was not missing.
        """
        try:
            self.any(False)
        except tf.errors.OpError as error:
            if not is_lost_worker(error):
                raise

    def chiefs(self, value: int) -> int:
        """The chief's value; every worker must call this."""
        return self.sum(value if self.is_chief else 0)

    def deal(self, batches_of: Callable[[int, int], tf.data.Dataset]) -> Iterator[dict[str, tf.Tensor]]:
        """An iterator over what the replicas of this worker get in each step, for `strategy.run`.

        batches_of(worker_index, num_workers): endless batches that hold this worker's rows of each global batch; its
        replicas share them in order.
        """
        replicas = self.num_local_replicas

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            whole = batches_of(self.spec.task_index, self.spec.num_workers)
            shares = whole
            if replicas > 1:
                shares = whole.map(
                    without_autograph(
                        lambda batch: {name: tf.reshape(v, [replicas, -1, *v.shape[1:]]) for name, v in batch.items()}
                    )
                ).unbatch()
            # Else tf.distribute takes it for one that may end, and asks all workers before every step.
            return shares.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

        return iter(self.strategy.distribute_datasets_from_function(batches))


def first_of(strategy: tf.distribute.Strategy, value: Any) -> Any:
    """One replica's value of what `strategy.run` gave, where all have the same."""
    return tf.nest.map_structure(lambda part: strategy.experimental_local_results(part)[0], value)


def sum_of_replicas(value: Any) -> Any:
    """From inside a replica: the sum of every replica's tensors, in the same structure."""
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        # `all_reduce` gives each call a gradient of its own, which TensorFlow keeps by its name until the process ends, and with
        # it the graph and the variables: 60 MB of every small run.
        return value
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, value)


def assign_everywhere(variables: list[tf.Variable], values: list[tf.Tensor]) -> None:
    """Assigns to variables from inside a replica: each replica's copy gets the value that this replica computed.

    Replicas compute the same ones, so there is nothing to reduce, which is what a plain `assign` would ask for.
    """

    def update(strategy: tf.distribute.Strategy, targets: list[tf.Variable], news: list[tf.Tensor]) -> None:
        for variable, value in zip(targets, news, strict=True):
            strategy.extended.update(variable, _assign, args=(value,), group=False)

    replica = tf.distribute.get_replica_context()
    if replica is None:
        update(tf.distribute.get_strategy(), variables, values)
    else:
        replica.merge_call(update, args=(variables, values))


def _assign(variable: tf.Variable, value: tf.Tensor) -> None:
    # Read afterwards, each would be one operation more and an object of Python that looks like a variable.
    variable.assign(value, read_value=False)


def start_workers(config: ClusterSettings, environment: Mapping[str, str] = os.environ) -> Workers:
    """Joins the cluster the environment describes, with a strategy for the devices that are there.

    Comes before anything else with TensorFlow: devices and collectives can't change later. Raises InputError when what
    the configuration asks for can't be had.
    """
    spec = resolve_cluster(environment, config)
    gpus = tf.config.list_physical_devices("GPU")
    kind = choose_strategy(spec, config, len(gpus))
    if config.num_cpu_devices > 1:
        _split_cpu(config.num_cpu_devices)
    if kind == "tpu":
        return Workers(_tpu_strategy(spec.tpu or "local"), spec)
    if kind == "multi_worker":
        return Workers(_multi_worker_strategy(spec), spec)
    if kind == "mirrored":
        names = [f"GPU:{index}" for index in range(len(gpus))]
        return Workers(
            tf.distribute.MirroredStrategy(names or [f"CPU:{index}" for index in range(config.num_cpu_devices)]), spec
        )
    return Workers(tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0"), spec)


def _split_cpu(num_devices: int) -> None:
    (cpu, *_) = tf.config.list_physical_devices("CPU")
    wanted = [tf.config.LogicalDeviceConfiguration() for _ in range(num_devices)]
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) < num_devices:
            raise InputError(
                f"cluster.num_cpu_devices={num_devices} must be known before TensorFlow starts, it is running with"
                f" {len(tf.config.list_logical_devices('CPU'))}; start a new process"
            ) from error


def _multi_worker_strategy(spec: ClusterSpec) -> tf.distribute.Strategy:
    if spec.num_workers == 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(spec.addresses)}),
        task_type="worker",
        task_id=spec.task_index,
        rpc_layer="grpc",
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except (RuntimeError, *_LOST) as error:
        raise WorkerLostError(
            f"worker {spec.task_index} of {spec.num_workers} could not join the others at"
            f" {', '.join(spec.addresses)} ({' '.join(str(error).split())[:200]}); start all of them again"
        ) from error


def _tpu_strategy(name: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(
            f"cluster.strategy=tpu needs a TPU that TensorFlow can reach, {name!r} is none"
            f" ({' '.join(str(error).split())[:200]}); leave cluster.strategy out or set TPU_NAME"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def is_lost_worker(error: BaseException) -> bool:
    """Whether TensorFlow's error says that another worker is gone."""
    return isinstance(error, _LOST) or "Collective ops is aborted" in str(error)
