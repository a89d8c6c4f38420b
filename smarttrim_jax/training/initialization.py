"""Where a run's first parameters come from: chance, another run, an official weight file, or installed packages."""

import dataclasses
import logging

from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.pretrained.backbones import fill_from_file
from smarttrim_jax.pretrained.files import is_weight_file
from smarttrim_jax.pretrained.packages import INSTALL, packages_installed, vocabulary_file, with_packages
from smarttrim_jax.training.checkpoint_reading import check_same_shapes, restore
from smarttrim_jax.training.workdir import Workdir

_log = logging.getLogger(__name__)

PACKAGES = "packages"


def with_vocabulary(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with the vocabulary that its start was trained with, unless it asks for another.

    Where the packages are absent, the run starts from random weights and the data's own vocabulary, which one line
    says.

    Raises:
        CheckpointError: `init_from` is no run.
    """
    if config.init_from == PACKAGES and not packages_installed():
        _log.warning("pretrained packages are not installed; starting from random weights (%s)", INSTALL)
        return dataclasses.replace(config, init_from="")
    if not config.init_from or is_weight_file(config.init_from) or config.data.tokenizer != "trained":
        return config
    if config.init_from == PACKAGES:
        tokenizer = str(vocabulary_file())
    else:
        tokenizer = Workdir(config.init_from).config().data.tokenizer
    return dataclasses.replace(config, data=dataclasses.replace(config.data, tokenizer=tokenizer))


def starting_params(config: ExperimentConfig, fresh: Params) -> Params:
    """What `init_from` says, in the place of fresh parameters.

    Args:
        config: of the run, with all sizes resolved.
        fresh: the model's, drawn from its seed; what the source does not hold (trimmers, new heads) stays.

    Raises:
        CheckpointError: a source that cannot be read, of another task or of another model.
    """
    source, model = config.init_from, config.model
    if not source:
        return fresh
    if source == PACKAGES:
        return with_packages(model, fresh)
    if not is_weight_file(source):
        return _from_run(source, fresh)
    return fill_from_file(source, model, fresh, config.task)


def _from_run(path: str, fresh: Params) -> Params:
    """Another run's parameters; trimmers that it lacks start fresh (and open)."""
    source = Workdir(path).checkpoints
    params = restore(source)
    if "trimmers" in fresh:
        params.setdefault("trimmers", fresh["trimmers"])
    else:
        params.pop("trimmers", None)
    check_same_shapes(source, params, fresh)
    return params
