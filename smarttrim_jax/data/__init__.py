"""Data sets: the record they consist of, the contract of a user's own builder, and the registry of names."""

from smarttrim_jax.data.builders import DATASETS
from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.schema import Record

__all__ = ["DATASETS", "DatasetBuilder", "Record"]
