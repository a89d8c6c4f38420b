"""What the library asks of every backbone's configuration, for all presets."""

import collections
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models import ModelConfig, blip_base, blip_small, blip_tiny, meter_base, meter_small, meter_tiny
from smarttrim_jax.models.blip.config import TASKS
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim

PRESETS = {
    **{preset.__name__: preset() for preset in (meter_base, meter_small, meter_tiny)},
    **{f"{preset.__name__} {task}": preset(task) for preset in (blip_base, blip_small, blip_tiny) for task in TASKS},
}
# Where modalities meet, and what is made for the task, by the first parts of the parameters' paths.
CROSS_MODAL = {
    "meter": {"fusion_text", "fusion_image", "text_transform", "image_transform", "text_pooler", "image_pooler"},
    "blip": {"cross_attention", "cross_attention_norm", "twin_attention", "merge"},
}
HEADS = {
    "meter": {"head"},
    "vqa": {"decoder/dense", "decoder/norm", "decoder/bias"},
    "caption": {"decoder/dense", "decoder/norm", "decoder/bias"},
    "nlvr2": {"head"},
    "retrieval": {"match_head", "image_projection", "text_projection", "temperature"},
}


@pytest.fixture(params=PRESETS, scope="module")
def config(request: Any) -> Any:
    config = PRESETS[request.param]
    text = dataclasses.replace(config.text, vocab_size=config.text.vocab_size or 100)
    heads = {"heads": (dataclasses.replace(config.heads[0], outputs=7),)} if config.backbone == "meter" else {}
    return dataclasses.replace(config, text=text, trimming=TrimmingConfig(), **heads)


def test_every_parameter_is_in_the_group_it_should_be(config: Any) -> None:
    shapes = jax.eval_shape(Functional(config).init, jax.random.key(0))
    groups = collections.defaultdict(set)
    for path in flatten_dict(shapes, sep="/"):
        groups[config.parameter_group(path)].add(path)
    assert groups.keys() == {"trimmer", "head", "cross_modal", "backbone"}
    assert {path.split("/")[0] for path in groups["trimmer"]} == {"trimmers"}
    if config.backbone == "meter":
        assert {path.split("/")[0] for path in groups["cross_modal"]} == CROSS_MODAL["meter"]
        assert {path.split("/")[0] for path in groups["head"]} == HEADS["meter"]
        assert {path.split("/")[0] for path in groups["backbone"]} == {"image", "text", "type_embedding"}
        return
    where = {part for path in groups["cross_modal"] for part in path.split("/")[2:3]}
    assert where <= CROSS_MODAL["blip"]
    assert "cross_attention" in where
    heads = HEADS[config.task]
    assert {name for name in heads for path in groups["head"] if f"{path}/".startswith(f"{name}/")} == heads
    assert all(any(f"{path}/".startswith(f"{name}/") for name in heads) for path in groups["head"])
    assert {path.split("/")[0] for path in groups["backbone"]} <= {"image", "text", "decoder"}
    assert not any(part in CROSS_MODAL["blip"] for path in groups["backbone"] for part in path.split("/"))


def test_stacked_parameters_have_an_axis_of_layers_and_no_others_do(config: Any) -> None:
    shapes = flatten_dict(jax.eval_shape(Functional(config).init, jax.random.key(0)), sep="/")
    dense = {path: leaf.shape for path, leaf in shapes.items() if path.endswith("kernel")}
    for path, shape in dense.items():
        assert len(shape) == 2 + config.is_stacked(path), (path, shape)
    assert any(map(config.is_stacked, dense))


def test_a_configuration_is_read_back_as_its_own_backbone(config: Any) -> None:
    settings = to_dict(config)
    assert build(_Holder, {"model": settings}).model == config
    # Settings that were written before they named their backbone are of the one that knows most of the keys.
    del settings["backbone"]
    assert build(_Holder, {"model": settings}).model == config


@dataclasses.dataclass(frozen=True)
class _Holder:
    model: ModelConfig


def test_settings_of_no_known_backbone_are_refused() -> None:
    with pytest.raises(ConfigError, match="no backbone 'lstm'; known are 'blip', 'meter'"):
        build(_Holder, {"model": {"backbone": "lstm"}})
    with pytest.raises(ConfigError, match="--plugins=somebody"):
        build(ExperimentConfig, {"model": {"backbone": "somebody:Config"}, "data": {}})
    with pytest.raises(ConfigError, match="no dataclass of type ModelConfig"):
        build(_Holder, {"model": {"backbone": "smarttrim_jax.errors:ConfigError"}})


@pytest.mark.parametrize(
    "config",
    [meter_tiny(heads=(HeadConfig("vqa", "classifier", 13),)), *map(blip_tiny, TASKS)],
    ids=["meter", *TASKS],
)
def test_a_tiny_model_can_save_three_quarters_of_its_work(config: Any) -> None:
    model = Functional(dataclasses.replace(config, text=dataclasses.replace(config.text, vocab_size=100)))
    side = config.image_size
    batch = [jax.ShapeDtypeStruct((1, config.images, side, side, 3), jnp.float32)]
    batch += [jax.ShapeDtypeStruct((1, 12), jnp.int32)] * 2
    params = jax.eval_shape(model.init, jax.random.key(0))
    record = jax.eval_shape(lambda *given: model.apply(*given, trim=Trim()).record, params, *batch)
    opened = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), record)
    closed = dataclasses.replace(opened, gates=jax.tree.map(jnp.zeros_like, opened.gates))
    assert model.macs(closed) < 0.25 * model.full_macs(opened)
