"""The official configurations: their settings, arguments and sweeps, and each of them run with made examples."""

import dataclasses
import pathlib

import jax
import pytest

from smarttrim_jax.command_line.config_file import change, load_module, load_settings
from smarttrim_jax.configs import FILES
from smarttrim_jax.configuration import build
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Functional, parameter_shapes
from smarttrim_jax.recipes import SPEEDUPS, ablations, in_epochs
from smarttrim_jax.training.run import train
from smarttrim_jax.training.run_data import prepare_everywhere

CONFIGS = [name for name in FILES if name.startswith(("meter/", "blip/"))]
# As in METER's config.py and BLIP's configs: pixels, text length, examples of an update, epochs, learning rate,
# multipliers of head and cross-modal layers. Then millions of parameters of the plain model.
OFFICIAL = {
    "meter/vqav2": (576, 50, 512, 10, 5e-6, 50, 5, 326.57),
    "meter/nlvr2": (288, 50, 256, 10, 1e-5, 10, 5, 323.38),
    "meter/snli_ve": (384, 50, 64, 5, 2e-6, 10, 5, 321.21),
    "meter/flickr30k": (384, 40, 512, 10, 5e-6, 1, 5, 318.85),
    "meter/coco": (384, 40, 512, 10, 5e-6, 1, 5, 318.85),
    "blip/vqav2": (480, 35, 256, 10, 2e-5, 1, 1, 361.48),
    "blip/nlvr2": (384, 50, 256, 15, 3e-5, 1, 1, 259.37),
    "blip/flickr30k": (384, 35, 256, 6, 1e-5, 1, 1, 223.74),
    "blip/coco": (384, 35, 256, 6, 1e-5, 1, 1, 223.74),
    "blip/coco_captions": (384, 40, 256, 5, 1e-5, 1, 1, 223.97),
}
EXAMPLES = {"vqav2": 658_111, "nlvr2": 86_373, "snli_ve": 529_527, "coco": 566_747, "coco_captions": 566_747}
CAPTIONS_OF_FLICKR30K = {"meter": 150_070, "blip": 145_000}  # METER trains on val too


def config_of(name: str) -> ExperimentConfig:
    return build(ExperimentConfig, load_settings(name))


def test_every_configuration_of_the_folders_is_known() -> None:
    assert sorted(CONFIGS) == sorted(OFFICIAL)


@pytest.mark.parametrize("name", CONFIGS)
def test_fine_tuning_has_the_official_settings(name: str) -> None:
    config, (backbone, file) = config_of(f"{name}:finetune"), name.split("/")
    pixels, length, batch, epochs, rate, head, cross_modal, _ = OFFICIAL[name]
    optimizer = config.optimizer
    assert (config.data.image_size, config.data.text_length) == (pixels, length)
    assert config.data.batch_size * optimizer.accumulate == batch
    assert (optimizer.learning_rate, optimizer.head, optimizer.cross_modal) == (rate, head, cross_modal)
    assert optimizer.clip_norm == 0
    assert config.schedule.trim_steps == 0
    examples = EXAMPLES.get(file) or CAPTIONS_OF_FLICKR30K[backbone]
    read = config.schedule.full_steps * config.data.batch_size
    assert 0 <= read - epochs * examples < batch
    assert config == config_of(name)  # what no argument means


@pytest.mark.parametrize("name", CONFIGS)
def test_models_of_official_size_have_the_official_number_of_parameters(name: str) -> None:
    plain, trimmed = config_of(f"{name}:finetune").model, config_of(f"{name}:trim,speedup=2.5").model
    sizes = [
        jax.tree.reduce(lambda total, leaf: total + leaf.size, shapes_of(model), 0) for model in (plain, trimmed)
    ]
    assert sizes[0] / 1e6 == pytest.approx(OFFICIAL[name][-1], abs=0.01)
    assert 0 < sizes[1] - sizes[0] < 0.04 * sizes[0]
    assert not any(path.startswith("trimmers/") for path in parameter_shapes(Functional(plain)))


def shapes_of(model: object) -> object:
    return jax.eval_shape(Functional(model).init, jax.random.key(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CONFIGS)
def test_trim_tuning_differs_from_fine_tuning_in_what_trims(name: str) -> None:
    tuned, trimmed = config_of(f"{name}:finetune"), config_of(f"{name}:trim,speedup=2.5")
    assert trimmed.cost.target_speedup == 2.5
    assert trimmed.schedule.trim_steps == tuned.schedule.full_steps
    assert trimmed.schedule.full_steps == 0
    assert trimmed.optimizer.trimmer * trimmed.optimizer.learning_rate == pytest.approx(2e-3)
    assert trimmed.init_from != tuned.init_from
    same = {"data", "task", "seed", "generator", "objective", "retrieval", "evaluation", "mesh", "pixels"}
    assert all(getattr(trimmed, key) == getattr(tuned, key) for key in same)


@pytest.mark.parametrize("name", CONFIGS)
def test_tiny_keeps_what_does_not_depend_on_the_size(name: str) -> None:
    tiny, official = config_of(f"{name}:tiny"), config_of(f"{name}:trim")
    kept = ("options", "resize", "augment", "text_length", "start", "prompt", "text_cleaning", "max_words")
    assert all(getattr(tiny.data, key) == getattr(official.data, key) for key in kept)
    assert tiny.data.dataset == f"made_{official.data.dataset}"
    assert (tiny.objective, tiny.optimizer, tiny.task) == (official.objective, official.optimizer, official.task)
    assert tiny.init_from == ""


WRONG = {
    "foo": "meter/nlvr2 has no variant 'foo'; it has: finetune, trim, tiny",
    "": "meter/nlvr2 has no variant ''; it has: finetune, trim, tiny",
    "trim,speedup=0": "meter/nlvr2:trim.speedup is 0.0; it must be between 1 and 1000",
    "trim,speedup=nan": "meter/nlvr2:trim.speedup is nan; it must be",
    "trim,speedup=fast": "meter/nlvr2:trim.speedup is 'fast'; it must be a number",
    "trim,speedup": "give 'speedup' a value, as speedup=VALUE",
    "trim,speed=2": "unknown config key 'meter/nlvr2:trim.speed'; did you mean 'speedup'?",
    "trim,speedup=2,speedup=3": "sets 'speedup' twice; set it once",
    "trim,sweep=all": "meter/nlvr2:trim.sweep is 'all'; accepted: 'speedups', 'seeds', 'ablations'",
    "finetune,speedup=2": "unknown config key 'meter/nlvr2:finetune.speedup'",
}


@pytest.mark.parametrize("argument", WRONG)
def test_a_wrong_argument_is_one_sentence(argument: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(f"meter/nlvr2:{argument}")
    assert WRONG[argument] in str(caught.value)
    assert "\n" not in str(caught.value)


SWEEPS = {
    "finetune": 3,
    "finetune,seeds=5": 5,
    "trim": len(SPEEDUPS),
    "trim,speedup=2,sweep=seeds": 3,
    "trim,speedup=2,sweep=ablations": len(list(ablations(2.0))),
    "tiny": len(SPEEDUPS),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("argument", SWEEPS)
def test_whatever_a_sweep_yields_can_be_built(name: str, argument: str) -> None:
    settings = load_settings(f"{name}:{argument}")
    built = [
        build(ExperimentConfig, change(settings, changes)) for changes in load_module(FILES[name]).sweep(argument)
    ]
    assert len(built) == SWEEPS[argument]
    assert len({repr(config) for config in built}) == len(built)


def test_epochs_are_rounded_up_to_whole_updates() -> None:
    assert in_epochs(2, examples=101, batch_size=10).full_steps == 21
    assert in_epochs(2, examples=101, batch_size=10, accumulate=4).full_steps == 84
    assert in_epochs(1, examples=10, batch_size=10).trim_steps == 0


@pytest.mark.parametrize("name", CONFIGS)
def test_made_examples_fill_all_splits(name: str, tmp_path: pathlib.Path) -> None:
    config = config_of(f"{name}:tiny")
    dataset = prepare_everywhere(dataclasses.replace(config.data, data_dir=str(tmp_path)))
    sizes = dataset.split_sizes
    assert 11 <= sizes["train"] <= 24
    assert sizes["calibration"] >= 1
    assert sizes["test"] == 4
    assert dataset.num_images == config.model.images


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_tiny_trains_calibrates_and_evaluates(name: str, tmp_path: pathlib.Path) -> None:
    config = config_of(f"{name}:tiny")
    data = dataclasses.replace(config.data, data_dir=str(tmp_path / "data"))
    report = train(dataclasses.replace(config, data=data), str(tmp_path / "run"))
    assert report["examples"] == 4
    assert report["speedup"]["macs"] > 1
    assert set(report["metrics"]["full"]) == set(report["metrics"]["trimmed"])
