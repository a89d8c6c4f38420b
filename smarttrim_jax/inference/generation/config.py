"""How texts are generated."""

import dataclasses
import math
from typing import Literal

from smarttrim_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """Settings of generation, by the names and meanings that Hugging Face gives them.

    Attributes:
        eos_id: ends a text.
        pad_id: fills what follows the end.
        max_length: tokens of a text at most, those of the prompt and the end included.
        min_length: tokens, those of the prompt included, before which a text does not end.
        num_beams: partial texts that beam search follows; 1 for greedy search.
        length_penalty: the power of the length by which beam search divides the score of a text; 0 does not divide.
        early_stopping: when beam search leaves an example of which `num_beams` texts have ended: True at once, False
            when none of the running ones scores better at its present length, "never" when none can at any length.
        repetition_penalty: makes tokens of the text so far less likely, if greater than 1.
        sample: draw tokens instead of searching.
        temperature: logits are divided by it before drawing.
        top_k: draw from so many of the most likely tokens; 0 for all (BLIP's captions: 50).
        top_p: draw from the fewest most likely tokens that together have this probability; 1 for all.
    """

    eos_id: int
    pad_id: int
    max_length: int = 20
    min_length: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    classic: bool | None = None
    repetition_penalty: float = 1.0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("eos_id", "pad_id", "min_length", "top_k"):
            self._require(getattr(self, name) >= 0, name, "at least 0")
        for name in ("max_length", "num_beams"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("repetition_penalty", "temperature"):
            self._require(0 < getattr(self, name) < math.inf, name, "greater than 0")
        self._require(self.min_length <= self.max_length, "min_length", f"at most max_length, {self.max_length}")
        self._require(math.isfinite(self.length_penalty), "length_penalty", "finite")
        self._require(self.early_stopping in (True, False, "never"), "early_stopping", "True, False or 'never'")
        self._require(
            not self.classic or self.early_stopping != "never",
            "early_stopping",
            "True or False where classic is True",
        )
        self._require(0 < self.top_p <= 1, "top_p", "greater than 0, at most 1")
        self._require(not self.sample or self.num_beams == 1, "num_beams", "1 where sample is True")

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ConfigError(f"{name} is {getattr(self, name)!r}, but must be {expected}")
