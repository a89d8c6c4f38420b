"""Which training examples are held out, so that no image is both trained on and held out."""

import collections
from collections.abc import Hashable, Sequence

SHARE = 10
"""One of so many examples is held out."""


def held_out(images: Sequence[Sequence[Hashable]]) -> frozenset[int]:
    """Chooses about a tenth of the examples by their images alone, whatever the order of the examples.

    Examples that share an image stay together, also over several: the groups with the smallest images are taken as
    long as they fit into the tenth, or the smallest group where none does.

    Args:
        images: Of every example, digests of its images, which sort.

    Returns:
        Indices of the examples held out; none where all examples hang together.
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


def _groups(images: Sequence[Sequence[Hashable]]) -> dict[Hashable, list[int]]:
    """The examples that hang together, by the smallest of their images."""
    leader: dict[Hashable, Hashable] = {}

    def find(image: Hashable) -> Hashable:
        while leader.setdefault(image, image) != image:
            leader[image] = leader[leader[image]]  # shortens the way for the next search
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
