"""Checks a run before it starts: configuration, folder, data and mesh."""

import jax

from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import TrainingError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.sharding import axis_sizes, check_batch_size
from smarttrim_jax.training.checkpoint_reading import saved_steps
from smarttrim_jax.training.initialization import starting_params, with_vocabulary
from smarttrim_jax.training.run_data import check_run, fit_to_data
from smarttrim_jax.training.workdir import Workdir

PROBE = ".check"


def preflight(config: ExperimentConfig, path: str, devices: int, slices: int = 1) -> str:
    """Checks everything that `training.run.train` needs before its first step; the folder stays as it was.

    Data that is not prepared yet is prepared; later starts on this machine find it.

    Args:
        config: Run configuration.
        path: Folder of the run.
        devices: Number of devices that the run will have.
        slices: Number of TPU slices that these devices belong to.

    Returns:
        One line for people that says what was found.

    Raises:
        SmartTrimError: Something that `training.run.train` would refuse.
    """
    data, fsdp, tensor = axis_sizes(config.mesh, devices, slices)
    check_batch_size(config.data.batch_size, data * fsdp)
    workdir = Workdir(path)
    _check_writable(workdir)
    config = with_vocabulary(config)
    dataset = prepare(config.data)
    config = fit_to_data(config, dataset)
    check_run(config, dataset)
    workdir.check_same_run(config)
    if config.init_from and not saved_steps(workdir.checkpoints):  # A run that goes on does not read it again.
        starting_params(config, jax.eval_shape(Functional(config.model).init, config.random_key))
    examples = ", ".join(f"{size:,} {name}" for name, size in dataset.split_sizes.items())
    steps = config.schedule.total_steps
    return (
        f"ready: {steps:,} steps of {config.data.batch_size} examples on data={data} x fsdp={fsdp} x "
        f"tensor={tensor} devices; {config.data.dataset} has {examples} examples; {path} can be written"
    )


def _check_writable(workdir: Workdir) -> None:
    """Writes a file and removes it again, with the folder if that is new.

    Raises:
        TrainingError: The folder cannot be written.
    """
    new = not workdir.path.exists()
    workdir.create()
    probe = workdir.path / PROBE
    try:
        probe.write_text("")
        probe.unlink()
        if new and workdir.path.exists():  # Buckets have no empty folders.
            workdir.path.rmdir()
    except Exception as error:  # Libraries that access buckets raise exceptions of their own.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(
            f"cannot write to workdir '{workdir.path}': {reason}; choose a writable --workdir"
        ) from error
