"""The configuration of trimming: where tokens and heads are trimmed, and by which policy."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from smarttrim_jax.configuration import Settings
from smarttrim_jax.trimming.policies import LearnedPolicyConfig, PolicyConfig, RunTrimming


@dataclasses.dataclass(frozen=True)
class TrimmingConfig(Settings):
    """The trimming of a vision-language model.

    The encoders' default `first_layer` is 1, because in the first layer an encoder's global token has not read
    anything yet. In the deep encoders of the paper that layer is one of twelve.

    Attributes:
        image: Trimming of the image encoder.
        text: Trimming of the text encoder.
        cross_modal: Trimming of the layers where both meet.
        policy: The trimming policy, which decides what is closed.
    """

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {"trimmers": "policy"}

    image: RunTrimming = RunTrimming(first_layer=1)
    text: RunTrimming = RunTrimming(first_layer=1)
    cross_modal: RunTrimming = RunTrimming()
    policy: PolicyConfig = LearnedPolicyConfig()


TINY_TRIMMING = TrimmingConfig(image=RunTrimming(), policy=LearnedPolicyConfig(hidden=32))
"""Trimming of the presets for two CPU cores, whose image encoders have two layers: the first, which would read all
patches, is half of their work, and a budget below that would have to come from the rest."""
