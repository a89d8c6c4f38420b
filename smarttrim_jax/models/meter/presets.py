"""METER in three sizes."""

import dataclasses
from typing import Any

from smarttrim_jax.models.meter.config import FusionConfig, MeterConfig
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.trimming.config import TINY_TRIMMING


def meter_base(image_size: int = 384, **overrides: Any) -> MeterConfig:
    """Configures the official model: CLIP-ViT-B/16 (11 layers), RoBERTa-base, 6 + 6 fusion layers of width 768.

    Args:
        image_size: Side of the square images, in pixels.
        **overrides: Fields of `MeterConfig` to replace.

    Returns:
        The configuration.
    """
    config = MeterConfig(vision=VisionConfig(image_size=image_size))
    return dataclasses.replace(config, **overrides)


def meter_small(image_size: int = 112, **overrides: Any) -> MeterConfig:
    """Configures a model of width 384: sizes of DINOv2's ViT-S/14 and of MiniLM-L6, 3 + 3 fusion layers.

    Args:
        image_size: Side of the square images, in pixels.
        **overrides: Fields of `MeterConfig` to replace.

    Returns:
        The configuration.
    """
    config = MeterConfig(
        vision=VisionConfig(
            image_size=image_size,
            patch_size=14,
            width=384,
            depth=12,
            heads=6,
            mlp_width=1536,
            activation="gelu",
            epsilon=1e-6,
            pre_norm=False,
            patch_bias=True,
            layer_scale=True,
            position_grid=37,
        ),
        text=TextConfig(
            vocab_size=30522,
            width=384,
            depth=6,
            heads=12,
            mlp_width=1536,
            max_positions=512,
            position_rule="bert",
            pad_id=0,
            token_types=2,
            epsilon=1e-12,
        ),
        fusion=FusionConfig(width=384, depth=3, heads=6, mlp_width=1536),
    )
    return dataclasses.replace(config, **overrides)


def meter_tiny(image_size: int = 64, dropout: float = 0.0, patch_size: int = 8, **overrides: Any) -> MeterConfig:
    """Configures a model of width 128, small enough to train on two CPU cores in minutes.

    Args:
        image_size: Side of the square images, in pixels.
        dropout: Dropout of the text encoder and the fusion.
        patch_size: Side of a patch in pixels, which must divide `image_size`. Patches that are smaller than what is
            drawn cut it into parts, and its shape is then hard to learn.
        **overrides: Fields of `MeterConfig` to replace.

    Returns:
        The configuration, with trimmers; the vocabulary size is left to the data.
    """
    config = MeterConfig(
        vision=VisionConfig(image_size=image_size, patch_size=patch_size, width=128, depth=2, heads=4, mlp_width=256),
        text=TextConfig(
            vocab_size=0,
            width=128,
            depth=1,
            heads=4,
            mlp_width=256,
            max_positions=64,
            position_rule="bert",
            pad_id=0,
            epsilon=1e-12,
            dropout=dropout,
        ),
        fusion=FusionConfig(width=128, depth=2, heads=4, mlp_width=256, dropout=dropout),
        trimming=TINY_TRIMMING,
    )
    return dataclasses.replace(config, **overrides)
