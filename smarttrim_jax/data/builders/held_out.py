"""Chooses the training examples that are held out, so that no image is both trained on and held out."""

import collections
import hashlib
from collections.abc import Hashable, Sequence

SHARE = 10
"""One in so many examples is held out."""


def held_out(images: Sequence[Sequence[Hashable]]) -> frozenset[int]:
    """Chooses about a tenth of the examples by their images alone, whatever the order of the examples.

    Examples that share an image stay together, also through chains of shared images. Groups are taken in the order of
    their smallest image as long as they fit into the tenth; if none fits, the smallest group is taken.

    Args:
        images: Digests of each example's images, which can be sorted.

    Returns:
        Indices of the held-out examples; empty where all examples are connected.
    """
    groups = sorted(_groups(images).items())
    if len(groups) < 2:
        return frozenset()
    room = len(images) // SHARE
    chosen: list[int] = []
    for _, examples in groups:
        if len(chosen) + len(examples) <= room:
            chosen += examples
    smallest = min((examples for _, examples in groups), key=lambda examples: len(examples))
    return frozenset(chosen or smallest)


def is_held_out(name: str, period: int) -> bool:
    """Chooses about one in `period` by a hash, so that it is the same one whatever else is there.

    Args:
        name: Name of an image, or of whatever must stay together.
        period: One in so many is held out, at most 256.

    Returns:
        Whether it is held out.
    """
    return hashlib.sha256(name.encode()).digest()[0] % period == 0


def _groups(images: Sequence[Sequence[Hashable]]) -> dict[Hashable, list[int]]:
    """Groups connected examples, by the smallest digest of their images."""
    leader: dict[Hashable, Hashable] = {}

    def find(image: Hashable) -> Hashable:
        """Finds the smallest image of a group (union-find with path halving).

        Args:
            image: Digest of an image.

        Returns:
            Digest of the group's first image.
        """
        while leader.setdefault(image, image) != image:
            leader[image] = leader[leader[image]]  # Path halving.
            image = leader[image]
        return image

    for first, *others in images:
        for other in others:
            # The smaller image leads, whichever comes first.
            low, high = sorted((find(first), find(other)))  # type: ignore[type-var]
            leader[high] = low
    groups: dict[Hashable, list[int]] = collections.defaultdict(list)
    for index, own in enumerate(images):
        groups[find(own[0])].append(index)
    return groups
