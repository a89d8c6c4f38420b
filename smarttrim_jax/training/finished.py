"""A finished run as evaluation and inference need it: configuration, parameters, speed dial, data."""

import dataclasses
import functools
import zlib

import jax

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.pipeline import EvalBatches, eval_batches
from smarttrim_jax.errors import DataError
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.training.checkpoint_reading import restore
from smarttrim_jax.training.distributed import first_alone, same_everywhere
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.tasks import Task, make_task
from smarttrim_jax.training.workdir import Workdir
from smarttrim_jax.trimming.calibration import SpeedDial
from smarttrim_jax.trimming.gates import Trim


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What a run left in its folder.

    Attributes:
        config: with all sizes resolved.
        params: of the model.
        dial: from speed-up to logit offset; None if the run never trimmed.
        dataset: of the run.
    """

    config: ExperimentConfig
    params: Params
    dial: SpeedDial | None
    dataset: Dataset

    @property
    def model(self) -> Functional:
        """The model as pure functions."""
        return Functional(self.config.model)

    @functools.cached_property
    def task(self) -> Task:
        """What was trained, and how it is judged."""
        return make_task(self.config, self.dataset)

    def trim(self, speedup: float | None = None) -> Trim | None:
        """How the trimmers decide at a speed-up in MACs; by default at the one the run was trained for.

        Raises:
            ConfigError: a speed-up beyond the dial.
        """
        if self.dial is None:
            return None
        return Trim(offset=self.dial.offset_for(self.config.cost.target_speedup if speedup is None else speedup))

    def batches(self, split: str, *, batch_size: int | None = None, limit: int | None = None) -> EvalBatches:
        """The batches of a split, the last one filled up; `weight` is 0 for fillers.

        Args:
            split: of the data.
            batch_size: the configured one by default.
            limit: only the first examples.

        Raises:
            DataError: no such split.
        """
        size = self.config.evaluation.batch_size if batch_size is None else batch_size
        data = dataclasses.replace(self.config.data, batch_size=size)
        return eval_batches(self.dataset, split, data, limit=limit)


def open_run(path: str, together: bool = False) -> FinishedRun:
    """Reads a run's folder.

    Args:
        path: of the folder.
        together: all processes do so, not this one alone.

    Raises:
        CheckpointError: there is no finished run in the folder.
        DataError: its data cannot be prepared.
    """
    workdir = Workdir(path)
    config = workdir.config()
    params = jax.device_put(restore(workdir.checkpoints))
    dial = workdir.dial() if config.schedule.trim_steps else None
    return FinishedRun(config, params, dial, (prepare_everywhere if together else prepare)(config.data))


def prepare_everywhere(config: DataConfig) -> Dataset:
    """Opens the data set on all processes; process 0 prepares it first.

    Where processes do not share `data_dir`, each machine prepares its own, from the same source.

    Raises:
        DataError: as `prepare`, or the machines have different data.
    """
    dataset = first_alone(lambda: prepare(config))
    first = dataset.records("train")[0]
    known = (dataset.split_sizes, dataset.answer_names, first["id"], first["text"], dataset.text.vocab_size)
    if not same_everywhere(zlib.crc32(repr(known).encode())):
        raise DataError(
            f"the {config.dataset} in '{config.data_dir}' is not the same on all machines; "
            "share the folder, or clear it and prepare it from the same source"
        )
    return dataset
