"""BLIP's tasks in the training loop: steps, resumed runs, teachers that learn nothing, scores."""

import dataclasses
import json
import pathlib
import types
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fresh_params import fresh_params
from jax.sharding import AbstractMesh, AxisType
from tiny_run import tiny_model
from tiny_tasks import BATCH, blip, experiment, make_sources

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.language import numbered_language
from smarttrim_jax.data.pipeline import train_iterator
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.metrics import Scores
from smarttrim_jax.models.blip.config import TASKS, BlipConfig
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.nn.vision import VisionTransformer
from smarttrim_jax.objectives.retrieval import NOBODY, RetrievalConfig
from smarttrim_jax.sharding import AXES, partition_spec
from smarttrim_jax.tasks import Task, make_task
from smarttrim_jax.tasks.base import model_inputs
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.training.step import Steps, TrainState
from smarttrim_jax.tree_paths import map_with_names, named_leaves
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_sources(tmp_path_factory.mktemp("raw"))


@dataclasses.dataclass(frozen=True)
class Trained:
    """Three steps of trim-tuning, and what is needed to repeat them."""

    task: Task
    dataset: Dataset
    step: Any
    batches: list[dict[str, Any]]
    states: list[TrainState]
    metrics: list[dict[str, float]]

    @property
    def params(self) -> Any:
        return self.states[-1]["params"]


# Every task's step is seconds of compilation; one is tried each time.
MARKED = [task if task == "vqa" else pytest.param(task, marks=pytest.mark.slow) for task in TASKS]


@pytest.fixture(scope="module", params=MARKED)
def trained(request: Any, sources: dict[str, str]) -> Trained:
    config = experiment(request.param, sources)
    dataset = prepare(config.data)
    task = make_task(fit_to_data(config, dataset), dataset.language)
    params = fresh_params(task.config.model)
    steps = Steps(task, optax.sgd(0.1, momentum=0.5))  # whose first trace is the gradient
    iterator = train_iterator(dataset, config.data)
    batches = [jax.device_put(next(iterator)) for _ in range(3)]
    iterator.close()
    step, states, metrics = jax.jit(steps.trim), [jax.jit(steps.initial_state)(params)], []
    for batch in batches:
        state, measured = step(states[-1], batch)
        states.append(state)
        metrics.append({name: float(value) for name, value in measured.items()})
    return Trained(task, dataset, step, batches, states, metrics)


def test_every_task_takes_steps_whose_terms_are_finite_and_change_all_parameters(trained: Trained) -> None:
    terms = ("task_full", "task_trimmed", "distillation", "cost")
    for metrics in trained.metrics:
        assert all(np.isfinite(value) for value in metrics.values())
        assert metrics["loss"] == pytest.approx(sum(metrics[term] for term in terms), rel=1e-5)
        assert 0 < metrics["macs_ratio"] < 1.2
        assert metrics["gradient_norm"] > 0
    first, last = (named_leaves(trained.states[i]["params"]) for i in (0, -1))
    unmoved = [name for name in first if np.array_equal(first[name], last[name])]
    # Keys' biases change no attention; two start ids are of words that no text here has.
    assert [name for name in unmoved if "key/bias" not in name] == []


def test_what_is_never_trimmed_is_computed_once_for_both_passes(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []
    real = VisionTransformer.embed

    def counted(self: VisionTransformer, images: Any) -> Any:
        embedded.append(len(images))
        return real(self, images)

    monkeypatch.setattr(VisionTransformer, "embed", counted)
    jax.eval_shape(Steps(trained.task, optax.sgd(0.1)).trim, trained.states[0], trained.batches[0])
    assert len(embedded) == (2 if trained.task.config.task == "retrieval" else 1)  # the momentum model for itself


def test_gradients_of_the_task_and_of_the_cost_reach_every_trimmer(trained: Trained) -> None:
    def gradients(multiplier: float) -> dict[str, jax.Array]:
        first = trained.states[0] | {"multiplier": np.full(1, multiplier, np.float32)}
        after, _ = trained.step(first, trained.batches[0])
        return named_leaves(after["opt_state"][0].trace["trimmers"])

    task, all_terms = gradients(0.0), gradients(1e4)
    # Where the squared miss falls out, what is left of the cost is multiplier * miss.
    cost = {name: all_terms[name] - task[name] for name in task}
    for reached in (task, cost):
        norms = {name: np.linalg.norm(leaf.reshape(len(leaf), -1), axis=1) for name, leaf in reached.items()}
        assert all(np.isfinite(norm).all() for norm in norms.values())
        assert [name for name, norm in norms.items() if not (norm > 0).all()] == []


def test_with_all_but_the_global_tokens_closed_no_gradient_is_nan(trained: Trained) -> None:
    before = trained.states[0]["params"]
    apart = 1e3 * np.array([1.0, -1.0])
    shut = map_with_names(
        lambda name, leaf: (
            leaf - np.tile(apart, leaf.shape[-1] // 2) if name.endswith("logits/projection/bias") else leaf
        ),
        before["trimmers"],
    )
    after, metrics = trained.step(trained.states[0] | {"params": before | {"trimmers": shut}}, trained.batches[0])
    assert metrics["macs_ratio"] < 0.8 * trained.metrics[0]["macs_ratio"]
    for leaf in jax.tree.leaves((after["params"], metrics)):
        assert np.isfinite(leaf).all()


def test_a_state_that_was_saved_goes_on_bit_for_bit(trained: Trained, tmp_path: pathlib.Path) -> None:
    checkpoints = Checkpoints(tmp_path, every=1, keep=1)
    checkpoints.save(2, trained.states[2], None, {})
    restored = checkpoints.restore_latest(jax.eval_shape(lambda state: state, trained.states[2]))
    checkpoints.close()
    assert restored is not None
    # Not bound to a device, like the state before: the step is not compiled again.
    state, metrics = trained.step(jax.tree.map(np.asarray, restored[1]), trained.batches[2])
    chex.assert_trees_all_equal(state, trained.states[3])
    assert {name: float(value) for name, value in metrics.items()} == trained.metrics[2]


def drawn(shapes: Any, seed: int) -> Any:
    """Arrays of these shapes and types."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.uniform(0.1, 0.9, leaf.shape).astype(leaf.dtype), shapes)


def one_pass(trained: Trained) -> Any:
    """What a training pass returns, in shapes."""
    task, batch, params = trained.task, trained.batches[0], trained.states[0]["params"]
    return jax.eval_shape(lambda: task.run(params, batch, task.begin_pass(params, batch), key=jax.random.key(0)))


def shapes_of(trained: Trained) -> tuple[Any, Any]:
    """What a training pass returns, and what losses are given."""
    task, batch, state = trained.task, trained.batches[0], trained.states[0]
    return one_pass(trained), jax.eval_shape(lambda: task.begin(state, batch)[0])


def test_distillation_teaches_the_trimmed_pass_alone(trained: Trained) -> None:
    output, given = shapes_of(trained)
    first, second = drawn(output, 1), drawn(output, 2)
    distance = jax.jit(jax.value_and_grad(trained.task.distance, argnums=(0, 1), allow_int=True))
    value, (to_teacher, to_student) = distance(first, second, trained.batches[0], drawn(given, 3))
    assert value > 0
    floats = [leaf for leaf in jax.tree.leaves(to_teacher) if leaf.dtype == jnp.float32]
    assert floats
    assert all((leaf == 0).all() for leaf in floats)
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(to_student) if leaf.dtype == jnp.float32)
    same, _ = distance(first, first, trained.batches[0], drawn(given, 3))
    assert float(same) == pytest.approx(0, abs=1e-5)


def test_fillers_teach_nothing(trained: Trained) -> None:
    if "queue" in trained.states[0]:
        pytest.skip("what belongs together is a matter of the whole batch")
    batch, output = trained.batches[0], drawn(shapes_of(trained)[0], 1)
    filled = batch | {"weight": jnp.array([1.0, 1, 0, 0])}
    other = filled | {name: batch[name].at[2:].set(batch[name][:2]) for name in ("label", "text_ids", "text_mask")}
    loss = jax.jit(trained.task.loss)
    assert float(loss(output, filled, None)) == pytest.approx(float(loss(output, other, None)), rel=1e-6)
    assert float(loss(output, filled, None)) != pytest.approx(float(loss(output, batch, None)), rel=1e-6)


def test_evaluation_judges_every_example(trained: Trained) -> None:
    task, batch = trained.task, trained.batches[0]
    if task.config.task in ("vqa", "retrieval"):
        pytest.skip("runs the model again: tests/serving/test_blip_models.py")
    shapes = jax.eval_shape(lambda: task.model.apply(trained.params, *model_inputs(task.config, batch), trim=Trim()))
    output = drawn(shapes, 1)
    rows, record = task.judge(trained.params, output, batch, Trim())
    chex.assert_trees_all_equal(record, output.record)
    if task.config.task == "nlvr2":
        expected = output.logits["nlvr2"].argmax(axis=1) == batch["label"]
    else:
        likeliest, ids, mask = output.logits["caption"].argmax(axis=-1), batch["text_ids"], batch["text_mask"]
        prompt, ends = 4, np.asarray(mask.sum(axis=1))  # [DEC] a picture of
        expected = [np.mean(likeliest[i, prompt - 1 : end - 1] == ids[i, prompt:end]) for i, end in enumerate(ends)]
    scores = Scores(task.metric_names)
    scores.update(*task.named_values(jax.device_get(rows)))
    assert list(scores.compute().values()) == pytest.approx([float(np.mean(expected))])


def test_a_drawn_answer_has_the_weight_of_all_answers(sources: dict[str, str]) -> None:
    task = tiny_task("vqa", sources)
    ids, _ = task._texts(jnp.array([0, 1]))
    output: Any = types.SimpleNamespace(logits={"answer": jax.random.normal(jax.random.key(0), (*ids.shape, 50))})

    def loss(label: int, weights: list[float] | None) -> float:
        batch = {"label": jnp.array([label, 1]), "weight": jnp.array([1.0, 0.0])}
        weighted = {} if weights is None else {"answer_weights": jnp.array([weights, weights])}
        return float(task.loss(output, batch | weighted, None))

    assert loss(0, [0.2, 0.0]) == pytest.approx(0.2 * loss(0, None), rel=1e-6)
    # Drawn by the weights, its mean over draws is BLIP's loss of all answers.
    mean = 0.75 * loss(0, [0.6, 0.2]) + 0.25 * loss(1, [0.6, 0.2])
    assert mean == pytest.approx(0.6 * loss(0, None) + 0.2 * loss(1, None), rel=1e-6)


def test_accuracy_counts_weighted_answers_by_their_weight() -> None:
    model = tiny_model(heads=(HeadConfig("vqa", "classifier", 3),))
    model = dataclasses.replace(model, text=dataclasses.replace(model.text, vocab_size=50))
    data = DataConfig(dataset="vqav2", image_size=8, text_length=10, batch_size=4)
    task = make_task(ExperimentConfig(model=model, data=data, task="vqa"), numbered_language(50, 3, 10, ""))
    output: Any = types.SimpleNamespace(logits={"vqa": jnp.eye(3)})
    batch = {"label": jnp.array([0, 0, 2])}
    assert float(task.accuracy(output, batch)) == pytest.approx(2 / 3)
    answers = {
        "answer_ids": jnp.array([[1, 0], [0, -1], [2, -1]]),
        "answer_weights": jnp.array([[1, 0.6], [1, 0], [0.3, 0]]),
    }
    assert float(task.accuracy(output, batch | answers)) == pytest.approx((0.6 + 0 + 0.3) / 3)


def test_texts_of_examples_are_named_values(sources: dict[str, str]) -> None:
    task = tiny_task("vqa", sources)
    rows = {"choice": np.array([1, 0]), "probability": np.ones(2), "label": np.array([1, 1])}
    outputs, targets = task.named_values(rows)
    first, second = task.choices[:2]
    assert (outputs["answer"], targets["answer"]) == ([second, first], [second, second])

    task = tiny_task("caption", sources)
    red, blue = (task.text.encode(f"a picture of a {color} circle")[0] for color in ("red", "blue"))
    rows = {"right_words": np.ones(2), "text_ids": np.stack([red, blue])}
    outputs, targets = task.named_values(rows | {"caption_ids": np.stack([blue, red])})
    written = ["a red circle", "a blue circle"]
    assert (outputs["caption"], targets["caption"]) == (written[::-1], written)
    assert task.right_answer({"text_ids": red}) == "a red circle"
    with pytest.raises(ConfigError, match="'caption' is computed on demand"):
        task.named_values(rows)[0]["caption"]


def tiny_task(name: str, sources: dict[str, str]) -> Any:
    config = experiment(name, sources)
    dataset = prepare(config.data)
    return make_task(fit_to_data(config, dataset), dataset.language)


def test_retrieval_carries_a_momentum_model_and_a_queue(trained: Trained) -> None:
    if trained.task.config.task != "retrieval":
        assert trained.states[0].keys() == {"params", "opt_state", "step", "multiplier"}
        return
    before, after = trained.states[1:3]
    assert "trimmers" not in after["momentum"]
    expected = jax.tree.map(
        lambda slow, fast: 0.5 * slow + 0.5 * fast,
        before["momentum"],
        {name: part for name, part in before["params"].items() if name != "trimmers"},
    )
    chex.assert_trees_all_close(after["momentum"], expected, rtol=1e-5, atol=1e-7)
    assert (trained.states[0]["queue"].identities == NOBODY).all()
    first, second, third = (batch["label"] for batch in trained.batches)
    np.testing.assert_array_equal(trained.states[2]["queue"].identities, np.concatenate([first, second]))
    np.testing.assert_array_equal(trained.states[3]["queue"].identities, np.concatenate([third, second]))
    gates = one_pass(trained).record.gates
    assert {gate.tokens.shape[1] for gate in gates.values()} == {BATCH}  # right pairs alone are paid for
    norms = np.linalg.norm(trained.states[3]["queue"].texts, axis=-1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


def test_the_momentum_model_is_sharded_as_the_model_and_the_queue_by_its_places(trained: Trained) -> None:
    mesh = AbstractMesh((1, 2, 2), AXES, axis_types=(AxisType.Auto,) * 3)

    def split(name: str, shape: tuple[int, ...]) -> jax.sharding.PartitionSpec:
        return partition_spec(name, shape, mesh, BlipConfig().is_stacked(name))

    for name, leaf in named_leaves(trained.states[0].get("momentum", {})).items():
        large = (*leaf.shape[:-2], 256, 256)[-3:]
        assert split(f"momentum/{name}", large) == split(f"params/{name}", large)
    stacked = split("params/text/merge_layers/mlp/up/kernel", (512, 256, 256))
    assert stacked == jax.sharding.PartitionSpec(None, "fsdp", "tensor")
    assert split("queue/images", (57600, 256)) == jax.sharding.PartitionSpec("fsdp", None)


def test_a_queue_that_batches_do_not_fill_is_refused(sources: dict[str, str]) -> None:
    config = experiment("retrieval", sources)
    with pytest.raises(
        ConfigError, match=r"retrieval\.queue_size is 6; it must be a multiple of data\.batch_size, 4"
    ):
        dataclasses.replace(config, retrieval=RetrievalConfig(queue_size=6))


def test_settings_are_of_the_model_that_knows_most_of_their_keys(sources: dict[str, str]) -> None:
    config = experiment("vqa", sources)
    settings = to_dict(config)
    assert build(ExperimentConfig, json.loads(json.dumps(settings))) == config
    meter = ExperimentConfig(
        MeterConfig(trimming=TrimmingConfig()), dataclasses.replace(config.data, start="", image_size=288)
    )
    assert build(ExperimentConfig, to_dict(meter)) == meter
    for model, hint in ((config.model, "'features'"), (meter.model, "'fusion'")):
        wrong = to_dict(model)
        wrong[f"{hint[1:-1]}s"] = wrong.pop(hint[1:-1])
        with pytest.raises(ConfigError, match=rf"config\.model\.\w+'; did you mean {hint}"):
            build(ExperimentConfig, settings | {"model": wrong})


def test_what_does_not_fit_is_named(sources: dict[str, str]) -> None:
    config = experiment("vqa", sources)
    dataset = prepare(config.data)
    with pytest.raises(ConfigError, match="task is 'nlvr2', but the model is for: vqa"):
        dataclasses.replace(config, task="nlvr2")
    with pytest.raises(ConfigError, match=r"data.start is '\[DEC\]', but texts for this model begin with '\[ENC\]'"):
        dataclasses.replace(config, data=dataclasses.replace(config.data, start="[DEC]"))
    few = blip("vqa", text=dataclasses.replace(config.model.text, vocab_size=7))
    wrong = {
        "model.text.vocab_size is 7": dataclasses.replace(config, model=few),
        "data.images is 2, which cannot be made of 1": dataclasses.replace(
            config, data=dataclasses.replace(config.data, images=2)
        ),
    }
    for message, changed in wrong.items():
        with pytest.raises(ConfigError, match=message):
            fit_to_data(changed, dataset)


def test_answers_that_are_not_known_cannot_be_ranked(sources: dict[str, str]) -> None:
    config = experiment("vqa", sources)
    dataset = prepare(config.data)
    nameless = dataclasses.replace(dataset.language, answer_names=())
    with pytest.raises(ConfigError, match="ranks known answers, but none are given"):
        make_task(fit_to_data(config, dataset), nameless)
