"""A backbone and a policy of a user's own package: they train, are calibrated, run packed, are saved and exported."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from forked_commands import ROOT, module_of
from fresh_params import fresh_params
from own_package.longest_policy import LongestKeyPolicyConfig, LongestPolicyConfig
from own_package.toy_backbone import ToyConfig
from packed_output import COARSE, same
from tiny_run import decisive

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.execution import OneProgramExecutor, PackedExecutor
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.serving.evaluation import evaluate, open_data
from smarttrim_jax.serving.export import export_model
from smarttrim_jax.serving.trained_model import load_model
from smarttrim_jax.training.run import train
from smarttrim_jax.trimming.capacity import CapacityConfig
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim
from smarttrim_jax.trimming.policies import ClassAttentionPolicyConfig, MergePolicyConfig, RandomPolicyConfig

SIZES = {"vocab_size": 50, "answers": 3}
TOY = ToyConfig(**SIZES)
CONFIGS = {
    "learned": TOY,
    "longest": dataclasses.replace(TOY, trimming=TrimmingConfig(policy=LongestPolicyConfig())),
    "random": dataclasses.replace(TOY, trimming=TrimmingConfig(policy=RandomPolicyConfig(heads=0.5))),
}
READERS = {
    "class_attention": dataclasses.replace(TOY, trimming=TrimmingConfig(policy=ClassAttentionPolicyConfig())),
    "merge": dataclasses.replace(TOY, trimming=TrimmingConfig(policy=MergePolicyConfig())),
}
"""Policies that read the layer's attention, and so leave the toy's images alone; see `test_rival_policies.py`."""
OFFSETS = {"learned": -2.5, "longest": 0.0, "random": 0.5}


@dataclasses.dataclass(frozen=True)
class Case:
    """A toy model with one policy, its parameters, and a batch of five examples with texts of several lengths."""

    config: ToyConfig
    params: Any
    batch: tuple[np.ndarray, ...]
    trim: Trim

    def run(self, trim: Trim | None, *batch: np.ndarray) -> Any:
        dial = None if trim is None else jax.tree.map(jnp.float32, trim)
        return jax.device_get(jax.jit(Functional(self.config).apply)(self.params, *batch, trim=dial))


# The user's own policy on the user's own backbone every time; the library's own in the slow tests.
@pytest.fixture(
    params=[pytest.param(name, marks=() if name == "longest" else pytest.mark.slow) for name in CONFIGS],
    scope="module",
)
def case(request: Any) -> Case:
    config = CONFIGS[request.param]
    params = fresh_params(config)
    if "trimmers" in params:
        params |= {"trimmers": decisive(params["trimmers"])}
    random = np.random.default_rng(0)
    mask = (np.arange(9) < np.array([9, 6, 3, 1, 8])[:, None]).astype(np.int32)
    ids = np.where(mask, random.integers(3, 50, mask.shape), 0).astype(np.int32)
    images = random.normal(size=(5, 8, 8, 3)).astype(np.float32)
    return Case(config, params, (images, ids, mask), Trim(offset=OFFSETS[request.param]))


def test_packed_equals_padded_alone_and_among_others(case: Case) -> None:
    padded = case.run(case.trim, *case.batch)
    executor = PackedExecutor(Functional(case.config), case.params, COARSE)
    same(executor(*case.batch, trim=case.trim), padded)
    for rows in ([2], [4, 0]):
        same(executor(*(part[rows] for part in case.batch), trim=case.trim), padded, rows)
        same(case.run(case.trim, *(part[rows] for part in case.batch)), padded, rows)
    kept = [
        float(gate.tokens.sum() / padded.record.opened().gates[key].tokens.sum())
        for key, gate in padded.record.gates.items()
    ]
    assert all(0.1 < share < 0.95 for share in kept), kept


def test_open_gates_are_the_plain_backbone_and_closed_ones_spare_the_first_token(case: Case) -> None:
    plain = dataclasses.replace(case.config, trimming=None)
    params = {name: part for name, part in case.params.items() if name != "trimmers"}
    expected = jax.jit(Functional(plain).apply)(params, *case.batch).logits["vqa"]
    opened = case.run(Trim(offset=1e3), *case.batch)
    np.testing.assert_allclose(opened.logits["vqa"], expected, atol=1e-6)
    closed = case.run(Trim(offset=-1e3), *case.batch)
    assert all((gate.tokens[-1].sum(-1) == 1).all() for gate in closed.record.gates.values())
    assert np.isfinite(closed.logits["vqa"]).all()


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_with_everything_closed_no_gradient_is_nan(case: Case, dtype: str) -> None:
    model = Functional(dataclasses.replace(case.config, dtype=dtype))

    def loss(params: Any) -> Any:
        output = model.apply(params, *case.batch, trim=Trim(offset=-1e3), key=jax.random.key(0))
        return jnp.sum(output.logits["vqa"] ** 2) + jnp.sum(model.macs(output.record)) * 1e-6

    gradients = jax.jit(jax.grad(loss))(case.params)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))


def test_a_higher_dial_costs_more_and_nothing_more_than_everything(case: Case) -> None:
    model = Functional(case.config)
    records = [case.run(Trim(offset=offset), *case.batch).record for offset in (-3.0, 0.0, 3.0)]
    costs = [float(model.macs(record).sum()) for record in records]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]
    open_cost = model.macs(records[-1].opened())
    assert (model.macs(records[-1]) <= open_cost * 1.001).all()


def test_a_configuration_with_them_is_read_back(experiment: ExperimentConfig) -> None:
    for config in (*CONFIGS.values(), *READERS.values()):
        run = with_model(experiment, config)
        assert build(ExperimentConfig, to_dict(run)) == run


def with_model(experiment: ExperimentConfig, config: ToyConfig) -> ExperimentConfig:
    """The experiment with a toy model that takes its sizes from the data, whose texts begin as it says."""
    data = dataclasses.replace(experiment.data, start=config.text_start())
    return dataclasses.replace(experiment, model=dataclasses.replace(config, vocab_size=0, answers=0), data=data)


class Misspelt(ToyConfig):
    """Its texts begin with what is no special token."""

    def text_start(self) -> str:
        return "READ"


class Blind(ToyConfig):
    """It says that it reads no text."""

    max_text_length = 0


def test_what_a_configuration_says_of_texts_is_checked(experiment: ExperimentConfig) -> None:
    with pytest.raises(ConfigError, match=r"text_start\(\) of Misspelt gives 'READ'; it must be letters in square"):
        dataclasses.replace(with_model(experiment, TOY), model=Misspelt(**SIZES))
    with pytest.raises(ConfigError, match=r"begin with '\[READ\]'; set it to that"):
        dataclasses.replace(experiment, model=TOY)
    assert with_model(experiment, Blind(**SIZES)).data.text_length > 0


def test_capacity_is_for_encoders_that_can_hold_fewer_tokens(experiment: ExperimentConfig) -> None:
    with pytest.raises(ConfigError, match=r"capacity\.image is 0\.5, but this model has no image encoder"):
        dataclasses.replace(with_model(experiment, TOY), capacity=CapacityConfig(image=0.5))


@pytest.mark.slow
@pytest.mark.parametrize("policy", [*CONFIGS, *READERS])
def test_it_trains_is_calibrated_served_and_exported(
    experiment: ExperimentConfig, tmp_path: pathlib.Path, policy: str
) -> None:
    schedule = dataclasses.replace(experiment.schedule, full_steps=2, trim_steps=4)
    cost = dataclasses.replace(experiment.cost, target_speedup=1.2)
    evaluation = dataclasses.replace(experiment.evaluation, speedups=(1.1,))
    config = with_model(experiment, (CONFIGS | READERS)[policy])
    config = dataclasses.replace(config, schedule=schedule, cost=cost, evaluation=evaluation)
    report = train(config, str(tmp_path / "run"))
    assert report["speedup"]["macs"] == pytest.approx(1.2, rel=0.15)  # few examples, and a draw
    trained = load_model(str(tmp_path / "run"))
    packed = evaluate(trained, open_data(trained), execution="packed")
    assert packed["speedup"]["macs"] == pytest.approx(report["speedup"]["macs"], rel=1e-6)
    trained.save(tmp_path / "saved")
    image = next(pathlib.Path(experiment.data.source).rglob("*.png"))
    first, again = (
        load_model(str(folder)).answer(str(image), ["what color is it?"])[0]
        for folder in (tmp_path / "run", tmp_path / "saved")
    )
    assert first.answer == again.answer
    assert export_model(trained, str(tmp_path / "model.jaxexport"), batch_size=2, platforms=("cpu",)) > 0


@pytest.mark.parametrize("case", ["longest"], indirect=True)
def test_a_policy_may_read_the_layer_that_it_decides_for(case: Case) -> None:
    config = dataclasses.replace(TOY, trimming=TrimmingConfig(policy=LongestKeyPolicyConfig()))
    reading = dataclasses.replace(case, config=config, trim=Trim(offset=0.0))
    params = {name: part for name, part in case.params.items() if name != "trimmers"}
    padded = dataclasses.replace(reading, params=params).run(reading.trim, *case.batch)
    same(PackedExecutor(Functional(config), params, COARSE)(*case.batch, trim=reading.trim), padded)
    text = padded.record.gates["reader", "text"].tokens
    assert 0 < text.sum() < padded.record.opened().gates["reader", "text"].tokens.sum()


def test_a_model_of_images_alone_with_layers_of_its_own_packs_every_way() -> None:
    example = module_of(ROOT / "examples" / "own_model.py")
    model = Functional(example.StripesConfig())
    params = fresh_params(model.config)
    params |= {"trimmers": decisive(params["trimmers"])}
    images, _ = example.draw(4, seed=0)
    trim = Trim(offset=jnp.float32(-2.5))
    padded = jax.jit(model.apply)(params, images, trim=trim)
    gates = padded.record.gates["image", "image"]
    for part in (gates.tokens, gates.heads):
        assert 0.1 < part[1:].mean() < 0.95
    # Small batches and calibration take closed heads out of the library's own attention, which this model has not.
    executor = PackedExecutor(model, params, dataclasses.replace(COARSE, group_heads=4))
    same(executor(images, trim=trim), padded)
    executor.calibrate([(images, None, None)], trim=trim)
    same(executor(images, trim=trim), padded)
    one_program = OneProgramExecutor(model, params, COARSE)
    one_program.calibrate([(images, None, None)], trim=trim)
    same(one_program(images, trim=trim), padded)
    assert one_program.cuts(len(images))
