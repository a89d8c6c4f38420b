"""The BLIP model class of each task."""

from collections.abc import Callable

from smarttrim_jax.models.base import VisionLanguageModel
from smarttrim_jax.models.blip.caption import BlipCaption
from smarttrim_jax.models.blip.config import TaskName
from smarttrim_jax.models.blip.nlvr2 import BlipNlvr2
from smarttrim_jax.models.blip.retrieval import BlipRetrieval
from smarttrim_jax.models.blip.vqa import BlipVqa

MODELS: dict[TaskName, Callable[..., VisionLanguageModel]] = {
    "vqa": BlipVqa,
    "nlvr2": BlipNlvr2,
    "caption": BlipCaption,
    "retrieval": BlipRetrieval,
}
