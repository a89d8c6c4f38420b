"""The builders of data sets by name."""

from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.builders.coco import COCO
from smarttrim_jax.data.builders.easy_vqa import EasyVQA
from smarttrim_jax.data.builders.easy_vqa_captions import EasyVQACaptions
from smarttrim_jax.data.builders.emoji_captions import EmojiCaptions
from smarttrim_jax.data.builders.flickr30k import Flickr30k
from smarttrim_jax.data.builders.jsonl import Jsonl
from smarttrim_jax.data.builders.made import MadeCOCO, MadeFlickr30k, MadeNLVR2, MadeSNLIVE, MadeVQAv2
from smarttrim_jax.data.builders.nlvr import NLVR
from smarttrim_jax.data.builders.nlvr2 import NLVR2
from smarttrim_jax.data.builders.snli_ve import SNLIVE
from smarttrim_jax.data.builders.sort_of_clevr import SortOfCLEVR
from smarttrim_jax.data.builders.vqav2 import VQAv2
from smarttrim_jax.registry import Registry

DATASETS: Registry[type[DatasetBuilder]] = Registry(
    "data set",
    {
        "coco": COCO,
        "easy_vqa": EasyVQA,
        "easy_vqa_captions": EasyVQACaptions,
        "emoji_captions": EmojiCaptions,
        "flickr30k": Flickr30k,
        "jsonl": Jsonl,
        "made_coco": MadeCOCO,
        "made_flickr30k": MadeFlickr30k,
        "made_nlvr2": MadeNLVR2,
        "made_snli_ve": MadeSNLIVE,
        "made_vqav2": MadeVQAv2,
        "nlvr": NLVR,
        "nlvr2": NLVR2,
        "snli_ve": SNLIVE,
        "sort_of_clevr": SortOfCLEVR,
        "vqav2": VQAv2,
    },
)
"""Builders by the names that `data.dataset` accepts."""
