"""Which trimmers a model has."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from smarttrim_jax.configuration import Settings
from smarttrim_jax.trimming.policies import LearnedPolicyConfig, PolicyConfig, RunTrimming


@dataclasses.dataclass(frozen=True)
class TrimmingConfig(Settings):
    """The trimming of a vision-language model.

    In its first layer a uni-modal encoder's global token has not read anything yet, hence the defaults.

    Attributes:
        image: Trimming of the image encoder.
        text: Trimming of the text encoder.
        cross_modal: Trimming of the layers where both meet.
        policy: What decides.
    """

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {"trimmers": "policy"}

    image: RunTrimming = RunTrimming(first_layer=1)
    text: RunTrimming = RunTrimming(first_layer=1)
    cross_modal: RunTrimming = RunTrimming()
    policy: PolicyConfig = LearnedPolicyConfig()
