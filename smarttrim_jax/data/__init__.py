"""Data sets: the record they consist of, the contract of a user's own builder, and the registry of names.

A training loop of the user's own reads its texts and images with `TextEncoder` and `normalize`.
"""

from smarttrim_jax.data.builders import DATASETS
from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.images import normalize
from smarttrim_jax.data.schema import Record
from smarttrim_jax.data.text import TextEncoder

__all__ = ["DATASETS", "DataConfig", "DatasetBuilder", "Record", "TextEncoder", "normalize"]
