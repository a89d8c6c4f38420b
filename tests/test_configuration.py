"""Every configuration class refuses what it cannot mean, whoever builds it."""

import dataclasses
import importlib
import inspect
import json
import math
import pkgutil
import re
import typing
from typing import Annotated, Any, Literal

import jax
import numpy as np
import pytest
from tiny_run import tiny_model

import smarttrim_jax
from smarttrim_jax import BlipConfig, HeadConfig, MeterConfig, TextConfig, TrimmingConfig, VisionConfig, meter_base
from smarttrim_jax.configuration import Settings, build, described, field_types, to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, ScheduleConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.ranges import PositiveInt, Rule, ShareBelowOne, above, at_least, between

# These define flags, of which some have the same name.
COMMANDS = ("aot", "benchmark", "convert", "evaluate", "explain", "model_flags", "predict", "train")
NOT_FINITE = (math.nan, math.inf, -math.inf, np.float32("nan"), 1e300)


def library() -> list[Any]:
    """Every module of the package."""
    names = [info.name for info in pkgutil.walk_packages(smarttrim_jax.__path__, "smarttrim_jax.")]
    return [importlib.import_module(name) for name in names if name.rpartition(".")[2] not in COMMANDS]


def configuration_classes() -> list[type]:
    classes = {thing for module in library() for thing in vars(module).values() if isinstance(thing, type)}
    # By module too: classes of one name come out of a set in an order that differs between two workers.
    found = (cls for cls in classes if dataclasses.is_dataclass(cls))
    return sorted(found, key=lambda cls: (cls.__name__, cls.__module__))


def required(cls: type) -> dict[str, Any]:
    """A value for every field without a default."""
    examples: dict[str, Any] = {
        "DataConfig": {"dataset": "easy_vqa", "image_size": 8, "text_length": 5, "batch_size": 2},
        "GenerationConfig": {"eos_id": 1, "pad_id": 0},
        "HeadConfig": {"name": "vqa"},
        "Timing": {"device": "cpu", "batch_size": 1, "execution": "packed", "seconds": 1.0},
        "SpeedDial": {"offsets": (0.0, 1.0), "ratios": (0.5, 1.0)},
    }
    return examples.get(cls.__name__, {})


def numbers() -> list[tuple[type, str]]:
    """Every numeric field of every configuration class that can be built, inherited ones included."""
    fields = []
    for cls in configuration_classes():
        if issubclass(cls, Settings) and cls is not ExperimentConfig and not inspect.isabstract(cls):
            fields += [(cls, name) for name, hint in field_types(cls).items() if scalar(hint) in (int, float)]
    return fields


def scalar(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def test_every_configuration_class_checks_its_fields() -> None:
    named = [
        cls
        for cls in configuration_classes()
        if re.search("Config$|Trimming$|Timeouts|Overrides$|Dial$", cls.__name__)
    ]
    assert len(named) > 20
    assert [cls for cls in named if not issubclass(cls, Settings)] == []


@pytest.mark.parametrize(("cls", "name"), numbers(), ids=lambda part: getattr(part, "__name__", part))
def test_no_number_is_nan_infinite_a_text_or_none(cls: type, name: str) -> None:
    for wrong in (*NOT_FINITE, "1", None, True, [1], 10**400):
        with pytest.raises(ConfigError, match=rf"{cls.__name__}\.{name} is .*; it must be "):
            cls(**required(cls) | {name: wrong})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: VisionConfig(heads=0), r"VisionConfig\.heads is 0; it must be at least 1"),
        (lambda: VisionConfig(patch_size=0), r"VisionConfig\.patch_size is 0; it must be at least 1"),
        (lambda: TextConfig(width=-4), r"TextConfig\.width is -4; it must be at least 1"),
        (lambda: TextConfig(dropout=1.0), r"TextConfig\.dropout is 1\.0; it must be at least 0 and below 1"),
        (lambda: TextConfig(heads=7), r"heads is 7; it must divide width, 768"),
        (lambda: TextConfig(heads=12.0), r"TextConfig\.heads is 12\.0; it must be a whole number"),  # type: ignore[arg-type]
        (lambda: TextConfig(max_positions=2), r"max_positions is 2, which leaves no position"),
        (lambda: TextConfig(vocab_size=5, pad_id=5), r"pad_id is 5; it must be below vocab_size, 5"),
        (
            lambda: meter_base(heads=(HeadConfig("a"), HeadConfig("a"))),
            r"heads are named 'a', 'a'; give each its own",
        ),
        (lambda: meter_base(heads=()), r"heads are named not at all"),
        (lambda: DataConfig("nlvr", 8, 5, 2, data_dir="a\0b"), r"DataConfig\.data_dir is 'a.*b'; it must be a path"),
        (lambda: DataConfig("nlvr", 8, 5, 2, source="s3://b"), r"DataConfig\.source is 's3://b'; it must be a path"),
        (lambda: DataConfig("nlvr", 8, 5, 2, tokenizer="n" * 256), r"in names of at most 255 bytes"),
        (lambda: HeadConfig(""), r"HeadConfig\.name is ''; it must be a name"),
        (lambda: ScheduleConfig(0, 0), r"are 0 together; they must be between 1 and 2147483647"),
        (lambda: EvaluationConfig(calibration_examples=0), r"calibration_examples is 0; it must be at least 1"),
        (lambda: EvaluationConfig(speedups=(2.0, 0.5)), r"speedups\[1\] is 0\.5; it must be between 1 and 1000"),
        (lambda: BlipConfig(task="caption2"), r"task is 'caption2'; accepted: 'vqa'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant_is_named(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings()


def test_a_model_or_a_batch_that_no_machine_holds_is_refused_as_a_whole() -> None:
    for vision in (
        VisionConfig(width=10**9, heads=1),
        VisionConfig(image_size=16 * 10**6),
        VisionConfig(mlp_width=10**13),
    ):
        with pytest.raises(ConfigError, match=r"this model would have .*e\+.* parameters"):
            MeterConfig(vision=vision)
    with pytest.raises(ConfigError, match=r"this model would have .* parameters"):
        BlipConfig(features=10**10)
    with pytest.raises(ConfigError, match=r"batch_size is 1000000000, with 1 image\(s\) of 64 pixels"):
        DataConfig("easy_vqa", 64, 12, 10**9)


def test_the_count_of_parameters_is_near_the_real_one() -> None:
    for config in (meter_base(), tiny_model(text=dataclasses.replace(tiny_model().text, vocab_size=9999))):
        config = dataclasses.replace(config, trimming=None, heads=(HeadConfig("vqa", "classifier", 3129),))
        real = sum(
            math.prod(leaf.shape)
            for leaf in jax.tree.leaves(jax.eval_shape(Functional(config).init, jax.random.key(0)))
        )
        assert 0.97 * real < config.parameters <= real


def test_numpy_numbers_become_pythons_and_keep_what_json_holds() -> None:
    config = VisionConfig(width=np.int64(64), heads=np.int32(4), epsilon=np.float32(0.5), pre_norm=np.bool_(False))  # type: ignore[arg-type]
    assert json.loads(json.dumps(to_dict(config))) == to_dict(
        VisionConfig(width=64, heads=4, epsilon=0.5, pre_norm=False)
    )
    assert type(build(EvaluationConfig, {"speedups": [2, 3]}).speedups[0]) is float


def test_settings_of_an_older_run_take_defaults_for_what_they_lack() -> None:
    kept = to_dict(tiny_model())
    for group, key in (("vision", "position_grid"), ("text", "token_types"), ("trimming", "policy")):
        del kept[group][key]
    assert build(MeterConfig, kept).trimming == TrimmingConfig()


def test_keys_are_known_by_their_former_names() -> None:
    settings = to_dict(tiny_model())
    trimmers = settings["trimming"].pop("policy")
    del trimmers["policy"]  # the only one there was
    assert build(MeterConfig, settings | {"trimming": settings["trimming"] | {"trimmers": trimmers}}) == tiny_model()
    assert build(ExecutionConfig, {"line_growth": 2.0, "piece": 64}) == ExecutionConfig(
        length_growth=2.0, microbatch=64
    )


def test_errors_name_the_key_by_its_path() -> None:
    settings = to_dict(tiny_model())
    settings["heads"][0]["outputs"] = -1
    with pytest.raises(ConfigError, match=r"^config\.model\.heads\[0\]\.outputs is -1; it must be at least 0$"):
        build(MeterConfig, settings, "config.model")


def test_ranges_hold_in_float32_too() -> None:
    @dataclasses.dataclass(frozen=True)
    class Rates(Settings):
        share: ShareBelowOne = 0.5
        rate: Annotated[float, above(0)] = 1.0

    assert Rates(0.999, 1e-30).share == 0.999
    for wrong in ({"share": 1 - 1e-12}, {"rate": 1e-60}):
        with pytest.raises(ConfigError):
            Rates(**wrong)


def test_a_wrong_value_is_shown_in_short() -> None:
    for wrong in ("n" * 10_000, 10**5000, ["x"] * 1000):
        with pytest.raises(ConfigError) as caught:
            ScheduleConfig(keep=wrong)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 200


def test_types_are_described_in_words() -> None:
    assert described(PositiveInt) == "a whole number, at least 1"
    assert described(PositiveInt | Literal[-1] | None) == "a whole number, at least 1 or -1 or None"
    assert described(tuple[ShareBelowOne, ...]) == "a list, each of which is a number, at least 0 and below 1"
    for rule in (at_least(1), between(0, 2), above(0)):
        assert isinstance(rule, Rule)
        assert not rule.accepts(math.nan)
