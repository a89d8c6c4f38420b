"""What runs train, and how they are judged: one small class for every kind of task."""

from smarttrim_jax.data.language import Language
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.tasks.answers import Answers
from smarttrim_jax.training.tasks.base import Choice, ChoosingTask, Task
from smarttrim_jax.training.tasks.captions import Captions
from smarttrim_jax.training.tasks.classes import Classes
from smarttrim_jax.training.tasks.pairs import Pairs

BLIP_TASKS: dict[str, type[Task]] = {"vqa": Answers, "nlvr2": Classes, "caption": Captions, "retrieval": Pairs}

__all__ = ["Captions", "Choice", "ChoosingTask", "Task", "make_task"]


def make_task(config: ExperimentConfig, language: Language) -> Task:
    """The task of a run.

    Args:
        config: Run configuration, its sizes fitted to the data.
        language: The words of its texts and its answers.

    Raises:
        ConfigError: settings that the task cannot be trained with.
    """
    kind = BLIP_TASKS[config.model.task] if isinstance(config.model, BlipConfig) else Classes
    return kind(config, language)
