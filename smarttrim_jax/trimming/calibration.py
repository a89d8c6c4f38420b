"""The speed dial: the logit offset at which a trained model meets a given mean number of MACs."""

import dataclasses
import itertools
import logging
import math
from collections.abc import Callable, Sequence

import numpy as np

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError

_log = logging.getLogger(__name__)

FAR = 1.6
"""Ratio of neighbouring MAC ratios from which on a dial says that it does not know what lies between them."""
NEAR = 1.03
"""Ratio of two MAC ratios up to which they count as the same beside such a gap."""
MET = 0.005
"""Relative error of a MAC ratio at which an asked one counts as met."""


@dataclasses.dataclass(frozen=True)
class SpeedDial(Settings):
    """Measured points (offset, MAC ratio) on held-out training examples, sorted by offset.

    Attributes:
        offsets: Offsets added to the keep logits, ascending.
        ratios: Mean MACs over mean full MACs at each offset, ascending.

    Raises:
        ConfigError: There are no points, offsets or ratios fall or are not finite, or their numbers differ.
    """

    offsets: tuple[float, ...]
    ratios: tuple[float, ...]

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        if not self.offsets or len(self.offsets) != len(self.ratios):
            raise ConfigError(
                f"a speed dial has as many offsets as ratios, not {len(self.offsets)} and {len(self.ratios)}"
            )
        for values in (self.offsets, self.ratios):
            if not all(low <= high for low, high in itertools.pairwise((-math.inf, *values, math.inf))):
                raise ConfigError(f"the points of a speed dial must be numbers that rise, not {values}")
        if not self.ratios[0] > 0:
            raise ConfigError(f"the MAC ratios of a speed dial must be positive, not {self.ratios[0]}")

    def offset_for(self, speedup: float) -> float:
        """Returns the offset that meets a speed-up: that of a measured point, or interpolated between two.

        Where decisions are sure, MACs jump from one offset to the next, and what lies between two points is unknown:
        a point that meets the speed-up is taken as it was measured. A dial with a single point belongs to a policy
        with one speed; its offset is returned whatever speed-up is asked. A warning says where the points on both
        sides are too far apart to interpolate, as beyond the speed-ups that the dial was measured for.

        Args:
            speedup: MACs at full capacity over the wanted MACs, at least 1.

        Returns:
            The offset, to be set as `Trim.offset`.

        Raises:
            ConfigError: The speed-up is below 1, or beyond the largest one that the dial measured.
        """
        if not speedup >= 1:
            raise ConfigError(f"speedup is {speedup}; it must be at least 1 (2 halves the MACs)")
        if len(self.offsets) == 1:
            return self.offsets[0]
        ratio = 1.0 / speedup
        if ratio < self.ratios[0]:
            raise ConfigError(
                f"speedup {speedup:g} is beyond this model: its dial ends at {1 / self.ratios[0]:.2f}; "
                "train with a larger target_speedup"
            )
        below = max((each for each in self.ratios if each <= ratio), default=ratio)
        above = min((each for each in self.ratios if each >= ratio), default=ratio)
        is_gap = above > FAR * below
        nearest = min((below, above), key=lambda each: abs(each - ratio))
        if max(nearest / ratio, ratio / nearest) <= (NEAR if is_gap else 1 + MET):
            return self.offset_at(nearest)
        if is_gap:
            _log.warning(
                "a speed-up of %.3g was not measured, but %.3g and %.3g; what is saved may be far from it",
                speedup,
                1 / above,
                1 / below,
            )
        return self.offset_at(ratio)

    def offset_at(self, ratio: float) -> float:
        """Returns the lowest offset with a MAC ratio, interpolated between measured points.

        Args:
            ratio: Mean MACs over mean full MACs.

        Returns:
            The offset; the last one of the dial for a ratio that lies outside the measured ones.
        """
        pairs = list(zip(self.offsets, self.ratios, strict=True))
        # Where ratios repeat, the lowest offset is returned; np.interp would return the highest.
        for (low, low_ratio), (high, high_ratio) in itertools.pairwise(pairs):
            if low_ratio <= ratio <= high_ratio:
                if high_ratio == low_ratio:
                    return low
                return low + (high - low) * (ratio - low_ratio) / (high_ratio - low_ratio)
        return self.offsets[-1]

    def ratio_at(self, offset: float) -> float:
        """Returns the MAC ratio at an offset, interpolated between measured points.

        Args:
            offset: Number added to the keep logits.

        Returns:
            Mean MACs over mean full MACs; that of the first or last point for an offset beyond it.
        """
        return float(np.interp(offset, self.offsets, self.ratios))


def calibrate(
    measure: Callable[[float], float],
    speedups: Sequence[float],
    *,
    near: SpeedDial | None = None,
    limit: float = 16.0,
    tolerance: float = MET,
    iterations: int = 12,
) -> SpeedDial:
    """Measures a speed dial at the wanted speed-ups; each search reuses all points measured before.

    A search alternates between halving its bracket, which copes with jumps, and interpolating in it, which is fast.

    Args:
        measure: Function from an offset to the mean MAC ratio, which must not fall as the offset grows.
        speedups: Speed-ups (at least 1) at which the dial shall be exact.
        near: A dial measured on fewer examples, which tells where to look, since the ratios of both are nearly
            proportional. None searches without one.
        limit: Largest offset tried in either direction.
        tolerance: Relative error of the MAC ratio at which a search ends.
        iterations: Largest number of measurements per speed-up.

    Returns:
        The dial of all measured points.
    """

    def between(below: float, above: float, share: float) -> float:
        if near is not None:
            low, high = near.ratio_at(below), near.ratio_at(above)
            offset = near.offset_at(low + share * (high - low))
            if below < offset < above:
                return offset
        return below + share * (above - below)

    points = {offset: measure(offset) for offset in ((-limit, 0.0, limit) if near is None else (-limit, limit))}
    for speedup in speedups:
        goal = 1.0 / speedup
        for turn in range(iterations):
            below = max((o for o, r in points.items() if r <= goal), default=None)
            above = min((o for o, r in points.items() if r > goal), default=None)
            if below is None or above is None or min(abs(r / goal - 1) for r in points.values()) <= tolerance:
                break
            # Between offsets of a near dial the ratio is almost linear, so interpolation is used more often.
            halve = turn % 2 == 0 if near is None else turn % 3 == 2
            share = 0.5 if halve else (goal - points[below]) / (points[above] - points[below])
            offset = between(below, above, share)
            points[offset] = measure(offset)
    ordered = sorted(points.items())
    ratios = [ratio for _, ratio in ordered]
    for index in range(1, len(ratios)):  # rounding errors of the means must not make the ratios fall
        ratios[index] = max(ratios[index], ratios[index - 1])
    return SpeedDial(tuple(offset for offset, _ in ordered), tuple(ratios))
