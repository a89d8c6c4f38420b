r"""SmartTrim's learned policy beside its rivals: one fine-tuned start, one recipe, one budget, one executor.

Fine-tune once, then trim-tune from there by every policy, for every budget, with every seed. The second command goes
on where it was stopped, then times the models, and writes a table and a plot (the extra `plot` draws it):

    python -m smarttrim_jax.train --config=configs/rivals.py:sort_of_clevr,start --workdir=runs/rivals/start
    python -m smarttrim_jax.sweep --config=configs/rivals.py:sort_of_clevr --root=runs/rivals --time=64 \
        --output=rivals.json --plot=rivals.svg -- --config.init_from=runs/rivals/start

`learned` is SmartTrim, and `importance` the same without a view of the other side. `random` keeps tokens by chance,
`class_attention` those that the global token reads most (EViT, FastV), and `merge` joins similar ones (ToMe).

Two more sweeps tell how SmartTrim is best trained. `sweep=gates` compares tokens that are sampled in training with
tokens that fade into noise, and `sweep=ablations` is the method without one of its parts, at the first budget alone:

    python -m smarttrim_jax.sweep --config=configs/rivals.py:sort_of_clevr,sweep=ablations --root=runs/ablations \
        -- --config.init_from=runs/rivals/start

Data sets are `easy_vqa` (images of 48 pixels), `sort_of_clevr` (two objects, questions about one of them) and `emoji`
(BLIP finds pictures by names and names by pictures; --config.data.source is the font). On one CPU core a start takes
15 to 30 minutes, and a run of trim-tuning about 8.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from ml_collections import ConfigDict

from smarttrim_jax.configs import easy_vqa, emoji_captions, sort_of_clevr
from smarttrim_jax.configuration import Settings
from smarttrim_jax.options import read_variant
from smarttrim_jax.ranges import PositiveInt
from smarttrim_jax.recipes import ablations

SPEEDUPS = (2.0, 3.0)
POLICIES = ("learned", "importance", "random", "class_attention", "merge")
GATES = ("gumbel", "noise")


@dataclasses.dataclass(frozen=True)
class Options(Settings):
    """Options of every data set.

    Attributes:
        start: Configure the fine-tuning that all runs start from.
        steps: Steps of trim-tuning.
        seeds: Number of seeds.
        sweep: What is tried.
    """

    start: bool = False
    steps: PositiveInt = 700
    seeds: PositiveInt = 3
    sweep: Literal["policies", "gates", "ablations"] = "policies"


def _easy_vqa(options: Options) -> ConfigDict:
    return _in_one_phase(easy_vqa.get_config("quick"), options, start_steps=2500)


def _sort_of_clevr(options: Options) -> ConfigDict:
    of = "objects=2,kinds=non_relational"
    return sort_of_clevr.get_config(
        f"finetune,{of},steps=5000" if options.start else f"trim,{of},steps={options.steps}"
    )


def _emoji(options: Options) -> ConfigDict:
    return _in_one_phase(emoji_captions.get_config("retrieval"), options, start_steps=1000)


def _in_one_phase(config: ConfigDict, options: Options, start_steps: int) -> ConfigDict:
    """An experiment of both phases, of which the start takes the first and all others the second."""
    config.schedule.full_steps = start_steps if options.start else 0
    config.schedule.trim_steps = 0 if options.start else options.steps
    return config


DATASETS = {"easy_vqa": _easy_vqa, "sort_of_clevr": _sort_of_clevr, "emoji": _emoji}


def get_config(argument: str) -> ConfigDict:
    """Builds the experiment.

    Args:
        argument: Name of an entry of `DATASETS`; behind a comma its options, as in "easy_vqa,steps=600".

    Returns:
        Settings of the experiment, by SmartTrim's own policy for the first budget.

    Raises:
        ConfigError: There is no such data set, or no such option or value.
    """
    options = _read(argument)
    config = DATASETS[argument.partition(",")[0]](options)
    config.cost.target_speedup = SPEEDUPS[0]
    return config


def sweep(argument: str) -> Iterator[dict[str, Any]]:
    """Yields what is compared.

    Args:
        argument: As that of `get_config`.

    Yields:
        Values by dotted config key, for each run.

    Raises:
        ConfigError: There is no such data set, or no such option or value.
    """
    options = _read(argument)
    for seed in range(options.seeds):
        for speedup in SPEEDUPS[:1] if options.sweep == "ablations" else SPEEDUPS:
            for changes in _tried(options.sweep, speedup):
                yield {"cost.target_speedup": speedup, **changes, "seed": seed}


def _tried(sweep: str, speedup: float) -> Iterator[dict[str, Any]]:
    """What is compared for one budget."""
    if sweep == "policies":
        yield from ({"model.trimming.policy": policy} for policy in POLICIES)
    elif sweep == "gates":
        yield from ({"model.trimming.policy.gate": gate} for gate in GATES)
    else:
        yield from ablations(speedup)


def _read(argument: str) -> Options:
    return read_variant(argument, dict.fromkeys(DATASETS, Options), "rivals")
