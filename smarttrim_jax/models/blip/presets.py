"""BLIP in four sizes."""

import dataclasses
from typing import Any

from smarttrim_jax.models.blip.config import BERT, VIT, BlipConfig, TaskName
from smarttrim_jax.trimming.config import TINY_TRIMMING

IMAGE_SIZES: dict[TaskName, int] = {"vqa": 480, "nlvr2": 384, "caption": 384, "retrieval": 384}
"""Image sizes of the official fine-tuned models, in pixels."""
DROP_PATH: dict[TaskName, float] = {"vqa": 0.1, "nlvr2": 0.1, "caption": 0.0, "retrieval": 0.0}
"""Stochastic depth of the image encoder, by task."""


def blip_base(task: TaskName = "vqa", image_size: int | None = None, **overrides: Any) -> BlipConfig:
    """Configures the official base model: ViT-B/16 and BERT-base.

    Args:
        task: Name of the task.
        image_size: Side of the square images, in pixels; None takes that of the official fine-tuned model.
        **overrides: Fields of `BlipConfig` to replace.

    Returns:
        The configuration.
    """
    return _blip(task, image_size or IMAGE_SIZES[task], {}, {}, overrides)


def blip_large(task: TaskName = "vqa", image_size: int | None = None, **overrides: Any) -> BlipConfig:
    """Configures the official large model: ViT-L/16 and BERT-base.

    Args:
        task: Name of the task.
        image_size: Side of the square images, in pixels; None takes that of the official fine-tuned model.
        **overrides: Fields of `BlipConfig` to replace.

    Returns:
        The configuration.
    """
    vision = {"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096}
    return _blip(task, image_size or IMAGE_SIZES[task], vision, {}, overrides)


def blip_small(task: TaskName = "vqa", image_size: int = 112, **overrides: Any) -> BlipConfig:
    """Configures a model of width 384: sizes of DINOv2's ViT-S/14 and of MiniLM-L6.

    Args:
        task: Name of the task.
        image_size: Side of the square images, in pixels.
        **overrides: Fields of `BlipConfig` to replace.

    Returns:
        The configuration.
    """
    vision = {
        "patch_size": 14,
        "width": 384,
        "heads": 6,
        "mlp_width": 1536,
        "layer_scale": True,
        "position_grid": 37,
    }
    text = {"width": 384, "depth": 6, "heads": 12, "mlp_width": 1536}
    return _blip(task, image_size, vision, text, {"first_merge": 3, "features": 128} | overrides)


def blip_tiny(task: TaskName = "vqa", image_size: int = 64, dropout: float = 0.0, **overrides: Any) -> BlipConfig:
    """Configures a model of width 128, small enough to train on two CPU cores in minutes.

    Args:
        task: Name of the task.
        image_size: Side of the square images, in pixels.
        dropout: Dropout of the text models.
        **overrides: Fields of `BlipConfig` to replace.

    Returns:
        The configuration, with trimmers; the vocabulary size is left to the data.
    """
    vision = {"patch_size": 8, "width": 128, "depth": 2, "heads": 4, "mlp_width": 256, "drop_path": 0.0}
    text = {
        "vocab_size": 0,
        "width": 128,
        "depth": 2,
        "heads": 4,
        "mlp_width": 256,
        "max_positions": 64,
        "dropout": dropout,
    }
    more = {"first_merge": 1, "features": 64, "trimming": TINY_TRIMMING}
    return _blip(task, image_size, vision, text, more | overrides)


def _blip(
    task: TaskName, image_size: int, vision: dict[str, Any], text: dict[str, Any], overrides: dict[str, Any]
) -> BlipConfig:
    vision = {"image_size": image_size, "drop_path": DROP_PATH[task]} | vision
    sizes: dict[str, Any] = {"vision": dataclasses.replace(VIT, **vision), "text": dataclasses.replace(BERT, **text)}
    return BlipConfig(task=task, **sizes | overrides)
