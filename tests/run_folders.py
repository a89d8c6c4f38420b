"""The folder of a run that was not trained, but holds what training leaves."""

import pathlib

from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.workdir import Workdir, describe


def write_run(folder: pathlib.Path, trained: TrainedModel, steps: int | None = None) -> pathlib.Path:
    """Writes what a run leaves in its folder after so many steps; by default all."""
    workdir, schedule = Workdir(str(folder)), trained.config.schedule
    workdir.create()
    workdir.claim(trained.config)
    workdir.write_language(trained.language)
    done = schedule.total_steps if steps is None else steps
    checkpoints = Checkpoints(workdir.checkpoints, schedule.save_every, schedule.keep)
    checkpoints.save(done, {"params": trained.params}, {"position": done}, describe(trained.config))
    checkpoints.close()
    if steps is None and trained.dial is not None:
        workdir.write_dial(trained.dial)
    return folder
