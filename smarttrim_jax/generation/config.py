"""The settings of text generation."""

import dataclasses
from typing import Literal

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.ranges import NonNegativeInt, PositiveFloat, PositiveInt, ShareAboveZero


@dataclasses.dataclass(frozen=True)
class GenerationConfig(Settings):
    """Settings of generation, by the names and meanings that Hugging Face gives them (except `classic` and `sample`).

    Attributes:
        eos_id: Id of the token that ends a text.
        pad_id: Id of the token that fills what follows the end.
        max_length: Largest number of tokens of a text, prompt and end included.
        min_length: Number of tokens, prompt included, before which a text does not end.
        num_beams: Number of partial texts that beam search follows; 1 for greedy search.
        length_penalty: Power of the length by which beam search divides the score of a text; 0 does not divide.
        early_stopping: When beam search leaves an example of which `num_beams` texts have ended: True at once, False
            when no running text scores better at its present length, "never" when none can at any length.
        classic: Whether beam search scores and stops as in transformers 4.15, with which BLIP was published, instead
            of transformers 5; None stands for True in BLIP's functions and for False elsewhere.
        repetition_penalty: Makes tokens of the text so far less likely, if greater than 1.
        sample: Draw tokens instead of searching.
        temperature: Number by which logits are divided before drawing.
        top_k: Draw from so many of the most likely tokens; 0 for all (BLIP's captions: 50).
        top_p: Draw from the fewest most likely tokens that together have this probability; 1 for all.
    """

    eos_id: NonNegativeInt
    pad_id: NonNegativeInt
    max_length: PositiveInt = 20
    min_length: NonNegativeInt = 0
    num_beams: PositiveInt = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    classic: bool | None = None
    repetition_penalty: PositiveFloat = 1.0
    sample: bool = False
    temperature: PositiveFloat = 1.0
    top_k: NonNegativeInt = 0
    top_p: ShareAboveZero = 1.0

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        if self.min_length > self.max_length:
            raise ConfigError(f"min_length is {self.min_length}; it must be at most max_length, {self.max_length}")
        if self.classic and self.early_stopping == "never":
            raise ConfigError("early_stopping is 'never'; it must be True or False where classic is True")
        if self.sample and self.num_beams > 1:
            raise ConfigError(f"num_beams is {self.num_beams}; it must be 1 where sample is True")
