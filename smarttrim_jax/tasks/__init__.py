"""What runs train, and how they are judged: one small class for every kind of task."""

from smarttrim_jax.data.language import Language
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.registry import Registry
from smarttrim_jax.tasks.answers import Answers
from smarttrim_jax.tasks.base import Choice, ChoosingTask, Task
from smarttrim_jax.tasks.captions import Captions
from smarttrim_jax.tasks.classes import Classes
from smarttrim_jax.tasks.retrieval import Pairs

TASKS: Registry[type[Task]] = Registry(
    "kind of task", {"classes": Classes, "answers": Answers, "captions": Captions, "retrieval": Pairs}
)
"""The kinds of tasks, as `ModelConfig.tasks` calls them."""

__all__ = ["TASKS", "Captions", "Choice", "ChoosingTask", "Task", "make_task"]


def make_task(config: ExperimentConfig, language: Language) -> Task:
    """The task of a run.

    Args:
        config: Run configuration, its sizes fitted to the data.
        language: The words of its texts and its answers.

    Raises:
        ConfigError: settings that the task cannot be trained with.
    """
    return TASKS.find(config.model.tasks[config.task])(config, language)
