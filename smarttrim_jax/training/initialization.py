"""Initial parameters of a run: random, from another run, from an official weight file, or from installed packages."""

import dataclasses
import logging
from typing import Any

from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.pretrained.backbones import fill_from_file
from smarttrim_jax.pretrained.files import is_weight_file
from smarttrim_jax.pretrained.packages import INSTALL, packages_installed, vocabulary_file, with_packages
from smarttrim_jax.training.checkpoint_reading import check_same_shapes, restore
from smarttrim_jax.training.workdir import Workdir
from smarttrim_jax.tree_paths import named_leaves

_log = logging.getLogger(__name__)

PACKAGES = "packages"


def with_vocabulary(config: ExperimentConfig) -> ExperimentConfig:
    """Chooses the vocabulary that the initial parameters were trained with, unless the configuration names another.

    Where `init_from` is "packages" and these are not installed, a warning says so, and the run starts from random
    weights with a vocabulary trained on its data.

    Args:
        config: Run configuration.

    Returns:
        The configuration with `data.tokenizer` resolved.

    Raises:
        CheckpointError: `init_from` names a folder that holds no run.
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
    """Replaces freshly drawn parameters by those that `init_from` names.

    Args:
        config: Run configuration; sizes that depend on the data must be resolved.
        fresh: Parameters drawn from the run's seed. What the source does not hold (trimmers, heads of other tasks)
            stays.

    Returns:
        Parameters of the same structure as `fresh`.

    Raises:
        CheckpointError: The source cannot be read, or is of another task or model.
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
    """Reads another run's parameters; the trimmers of stacks that it trims otherwise are `fresh`, initially open."""
    source = Workdir(path).checkpoints
    params = restore(source)
    saved = params.pop("trimmers", {})
    needed = fresh.get("trimmers", {})
    fitting = {stack: saved[stack] for stack in needed if _shapes(saved.get(stack)) == _shapes(needed[stack])}
    if needed:
        params["trimmers"] = {**needed, **fitting}
    check_same_shapes(source, params, fresh)
    if begun := [stack for stack in needed if stack in saved and stack not in fitting]:
        _log.warning("the trimmers of '%s' do not fit this model and begin anew, open: %s", path, ", ".join(begun))
    return params


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in named_leaves(tree).items()}
