"""What is trained and how it is judged: one small class for every kind of task."""

from smarttrim_jax.data.language import Language
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.registry import Registry
from smarttrim_jax.tasks.answers import Answers
from smarttrim_jax.tasks.base import Choice, ChoosingTask, Task
from smarttrim_jax.tasks.captions import Captions
from smarttrim_jax.tasks.classes import Classes
from smarttrim_jax.tasks.ranking import Ranking
from smarttrim_jax.tasks.retrieval import Pairs

TASKS: Registry[type[Task]] = Registry(
    "kind of task",
    {"classes": Classes, "answers": Answers, "captions": Captions, "retrieval": Pairs, "ranking": Ranking},
)
"""The classes of tasks, by the kind that `ModelConfig.tasks` names."""

__all__ = ["TASKS", "Captions", "Choice", "ChoosingTask", "Task", "make_task"]


def make_task(config: ExperimentConfig, language: Language) -> Task:
    """Creates the task that a run trains.

    Args:
        config: Run configuration; sizes that depend on the data must be resolved (see `ModelConfig.fit_to`).
        language: Tokenizer of the texts and names of the answers.

    Returns:
        The task of the kind that the model's configuration names for `config.task`.

    Raises:
        ConfigError: The task cannot be trained with these settings.
    """
    return TASKS.find(config.model.tasks[config.task])(config, language)
