"""The speed dial: which logit offset makes a trained model meet which mean MACs."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class SpeedDial(Settings):
    """Measured points (offset, MAC ratio) on held-out training examples, sorted by offset.

    Attributes:
        offsets: added to the keep logits, ascending.
        ratios: mean MACs over mean full MACs at each offset, ascending.

    Raises:
        ConfigError: No points, offsets or ratios that fall or are not finite, or not as many of either.
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
        """The offset that meets a speed-up, interpolated between measured points.

        A dial of a single point is that of a policy with one speed, which it has whatever is asked.

        Args:
            speedup: MACs at full capacity over those that are wanted.

        Returns:
            The offset for `Trim`.

        Raises:
            ConfigError: a speed-up below 1, or beyond what the model can reach.
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
        return self.offset_at(ratio)

    def offset_at(self, ratio: float) -> float:
        """The offset of a MAC ratio on the dial, interpolated between measured points; above them, the last one."""
        pairs = list(zip(self.offsets, self.ratios, strict=True))
        # Ratios may repeat, of which the lowest offset is taken; numpy's would be the highest.
        for (low, low_ratio), (high, high_ratio) in itertools.pairwise(pairs):
            if low_ratio <= ratio <= high_ratio:
                if high_ratio == low_ratio:
                    return low
                return low + (high - low) * (ratio - low_ratio) / (high_ratio - low_ratio)
        return self.offsets[-1]

    def ratio_at(self, offset: float) -> float:
        """The MAC ratio of an offset, interpolated between measured points, and the last one beyond them."""
        return float(np.interp(offset, self.offsets, self.ratios))


def calibrate(
    measure: Callable[[float], float],
    speedups: Sequence[float],
    *,
    near: SpeedDial | None = None,
    limit: float = 16.0,
    tolerance: float = 0.005,
    iterations: int = 12,
) -> SpeedDial:
    """Measures the dial at the asked speed-ups, each search reusing all points found before.

    A search halves its bracket and interpolates in it by turns: the one copes with jumps, the other is fast.

    Args:
        measure: mean MAC ratio at an offset, never falling as the offset grows.
        speedups: where the dial shall be exact.
        near: a dial of fewer examples, which says where to look: ratios of both are nearly proportional.
        limit: largest offset tried, either way.
        tolerance: relative miss of the MAC ratio at which a search ends.
        iterations: most measurements per speed-up.
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
            # Seen from a near dial the ratio hardly bends.
            halve = turn % 2 == 0 if near is None else turn % 3 == 2
            share = 0.5 if halve else (goal - points[below]) / (points[above] - points[below])
            offset = between(below, above, share)
            points[offset] = measure(offset)
    ordered = sorted(points.items())
    ratios = [ratio for _, ratio in ordered]
    for index in range(1, len(ratios)):  # float noise of a mean must not break the interpolation
        ratios[index] = max(ratios[index], ratios[index - 1])
    return SpeedDial(tuple(offset for offset, _ in ordered), tuple(ratios))
