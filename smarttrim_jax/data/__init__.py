"""Data sets: the record they are made of, the contract of a builder of one's own, and the registry of their names."""

from smarttrim_jax.data.builders import DATASETS
from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.schema import Record

__all__ = ["DATASETS", "DatasetBuilder", "Record"]
