"""The choice of cuts for packed execution as one program, from what examples of the data keep.

A cut pays where many tokens have closed since the cut before; it costs a compaction and the compilation of its
branches. Cuts are added one by one, each where it saves most, until the next one would save too little. Where nothing
is known of the data, cuts lie at equal distances.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smarttrim_jax.execution.config import CutConfig
from smarttrim_jax.models.segments import LayerRun, Stages
from smarttrim_jax.trimming.gates import TrimRecord

DRAWS = 64
"""Batches that are drawn from the examples, to learn how much a batch keeps."""
LEAST = 0.25
"""The share of the tokens that the smallest branch holds where nothing is known of the data."""
UNEVEN = 1.5
"""How many times the batch's mean its longest example may then keep."""


class Shares(NamedTuple):
    """How much of its tokens a side holds.

    Attributes:
        batch: Share of the tokens of the whole batch.
        longest: Share of the tokens of any one example.
    """

    batch: float
    longest: float


@dataclasses.dataclass(frozen=True)
class Cut:
    """A point between a layer's decision and its work, where closed tokens leave memory.

    Attributes:
        run: Name of the run of layers.
        layer: Index of the layer, which trims.
        branches: What each branch holds of each side, from the smallest to the largest; sides that are left out are
            held as a whole. A branch that holds everything follows the last one.
    """

    run: str
    layer: int
    branches: tuple[dict[str, Shares], ...]


@dataclasses.dataclass(frozen=True)
class _Place:
    """A layer that trims.

    Attributes:
        run: Name of its run.
        layer: Its index.
        sides: The sides that it computes or reads.
        tokens: For each side of the state, the tokens of an example.
        total: For each side, the open tokens of each drawn batch as a share of all.
        longest: For each side, those of the longest example of each drawn batch.
    """

    run: str
    layer: int
    sides: tuple[str, ...]
    tokens: dict[str, int]
    total: dict[str, np.ndarray]
    longest: dict[str, np.ndarray]


def choose_cuts(
    stages: Stages, record: TrimRecord, batch_size: int, config: CutConfig | None = None, seed: int = 0
) -> tuple[Cut, ...]:
    """Chooses cuts and their branches for batches of examples like those of a record.

    Args:
        stages: The model's stages.
        record: The gates of some examples.
        batch_size: Examples of a batch.
        config: Number of cuts and branches; None takes the defaults.
        seed: Seed of the batches that are drawn from the examples.

    Returns:
        The cuts, in the order of the layers.
    """
    config = config or CutConfig()
    places = _places(stages, record, batch_size, np.random.default_rng(seed))
    chosen: list[int] = []
    work = full = _work(places, chosen, config)
    while len(chosen) < min(config.most, len(places)):
        tried = {number: _work(places, sorted([*chosen, number]), config) for number in range(len(places))}
        best = min(tried, key=lambda number: tried[number])
        if not work - tried[best] > config.gain * full:
            break
        work = tried[best]
        chosen.append(best)
    cut_places = [places[number] for number in sorted(chosen)]
    return tuple(Cut(place.run, place.layer, _distinct(_branches(place, config))) for place in cut_places)


def spread_cuts(stages: Stages, config: CutConfig | None = None) -> tuple[Cut, ...]:
    """Spreads cuts evenly over the layers that trim, for data of which nothing is known.

    Args:
        stages: The model's stages.
        config: Number of cuts and branches; None takes the defaults.

    Returns:
        The cuts, in the order of the layers.
    """
    config = config or CutConfig()
    layers = [(run, layer) for run in _trimming(stages) for layer in range(run.first_layer, run.depth)]
    count = min(config.most, len(layers))
    ladder = [Shares(share, min(UNEVEN * share, 1.0)) for share in spread_shares(config)]
    sides: dict[str, None] = {}
    cuts: list[Cut] = []
    for number, (run, layer) in enumerate(layers):
        sides |= dict.fromkeys(run.side_names)
        if number * count // len(layers) == len(cuts) and len(cuts) < count:
            cuts.append(Cut(run.name, layer, tuple(dict.fromkeys(sides, held) for held in ladder)))
    return tuple(cuts)


def spread_shares(config: CutConfig) -> list[float]:
    """Spreads the branches of a cut between `LEAST` and everything, for data of which nothing is known.

    Args:
        config: Number of branches.

    Returns:
        The share of the batch's tokens that each branch holds, from the smallest, without the one that holds all.
    """
    return [LEAST ** (1 - branch / config.branches) for branch in range(config.branches)]


def _trimming(stages: Stages) -> list[LayerRun]:
    """The runs of layers that trim."""
    return [stage for stage in stages if isinstance(stage, LayerRun) and stage.policies]


def _places(stages: Stages, record: TrimRecord, batch_size: int, random: np.random.Generator) -> list[_Place]:
    """The layers that trim, in order, with what drawn batches keep before each."""
    places = []
    examples = min(len(present) for present in record.present.values())
    drawn = random.integers(examples, size=(DRAWS, batch_size))
    tokens: dict[str, int] = {}
    total: dict[str, np.ndarray] = {}
    longest: dict[str, np.ndarray] = {}
    for run in _trimming(stages):
        for layer in range(run.first_layer, run.depth):
            for side in run.side_names:
                gate = np.asarray(record.gates[run.key(side)].tokens[layer])
                tokens[side] = gate.size // examples
                of_rows = (gate > 0).mean(axis=1).reshape(examples, -1)[drawn]
                total[side], longest[side] = of_rows.mean(axis=(1, 2)), of_rows.max(axis=(1, 2))
            places.append(_Place(run.name, layer, run.side_names, dict(tokens), dict(total), dict(longest)))
    return places


def _groups(place: _Place, config: CutConfig) -> list[np.ndarray]:
    """Divides the drawn batches into a group for each branch, from those that keep least."""
    kept = sum(place.total[side] * place.tokens[side] for side in place.total)
    return np.array_split(np.argsort(kept, kind="stable"), config.branches)


def _branches(place: _Place, config: CutConfig) -> list[dict[str, Shares]]:
    """What the branch of each group holds: as much as any batch of the group keeps, and a margin."""

    def held(kept: np.ndarray) -> float:
        return min(float(kept.max()) * (1 + config.margin), 1.0)

    sides = place.total
    return [
        {side: Shares(held(place.total[side][group]), held(place.longest[side][group])) for side in sides}
        for group in _groups(place, config)
    ]


def _distinct(branches: Sequence[dict[str, Shares]]) -> tuple[dict[str, Shares], ...]:
    """Branches of which no two are equal: where few examples were known, others hold more than any of them kept."""
    found: list[dict[str, Shares]] = []
    for branch in branches:
        if branch not in found:
            found.append(branch)
    while len(found) < len(branches):
        found.append({side: Shares(*(share**0.5 for share in shares)) for side, shares in found[-1].items()})
    return tuple(found)


def _work(places: Sequence[_Place], chosen: Sequence[int], config: CutConfig) -> float:
    """The tokens that all layers compute together, as mean over the drawn batches."""
    held: dict[str, np.ndarray] = {}
    work = 0.0
    for number, place in enumerate(places):
        if number in chosen:
            for group, branch in zip(_groups(place, config), _branches(place, config), strict=True):
                for side, shares in branch.items():
                    held.setdefault(side, np.ones(DRAWS))[group] = shares.batch
        work += sum(place.tokens[side] * float(held.get(side, np.ones(1)).mean()) for side in place.sides)
    return work
