"""What is done with a trained model: asked, explained, exported, measured, judged."""

import dataclasses
import json
import re
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from smarttrim_jax.benchmarking.speed_report import measure_trained, timings_of
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.images import normalize
from smarttrim_jax.data.pipeline import EvalBatches, eval_batches
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.evaluation.evaluator import Evaluator
from smarttrim_jax.evaluation.served import ServedEvaluator
from smarttrim_jax.execution import PackedExecutor
from smarttrim_jax.reporting.page import build_page
from smarttrim_jax.reporting.picture import draw
from smarttrim_jax.reporting.tables import format_speed
from smarttrim_jax.serving.explanation import Explanation, asked_batches, explain
from smarttrim_jax.serving.export import export_model
from smarttrim_jax.serving.predictor import Answer, Failure
from smarttrim_jax.serving.questions import Question
from smarttrim_jax.serving.timed_examples import first_examples
from smarttrim_jax.serving.trained_model import TrainedModel


@pytest.fixture(scope="module")
def evaluators(trained: TrainedModel, dataset: Dataset) -> tuple[Evaluator, ServedEvaluator]:
    """Padded and packed."""
    packed = trained.executed("packed").task
    return Evaluator(trained.task, trained.params, dataset), ServedEvaluator(packed, trained.params, dataset)


@pytest.fixture(scope="module")
def examples(trained: TrainedModel, dataset: Dataset) -> list[Explanation]:
    """Three explained examples."""
    return list(explain(trained, batches(trained, dataset, limit=3)))


def batches(trained: TrainedModel, dataset: Dataset, size: int = 4, limit: int | None = None) -> EvalBatches:
    return eval_batches(dataset, "test", dataclasses.replace(trained.config.data, batch_size=size), limit=limit)


@pytest.mark.slow
def test_packed_execution_of_a_trained_model_answers_as_the_padded_one(trained, dataset):
    executor = PackedExecutor(trained.model, trained.params, trained.config.execution)
    forward = jax.jit(trained.model.apply)
    for batch in batches(trained, dataset):
        inputs = normalize(batch["image"], trained.config.pixels), batch["text_ids"], batch["text_mask"]
        padded = forward(trained.params, *inputs, trim=trained.trim())
        packed = executor(*inputs, trim=trained.trim())
        np.testing.assert_allclose(packed.logits["vqa"], padded.logits["vqa"], atol=1e-5)
        jax.tree.map(np.testing.assert_array_equal, packed.record, padded.record)


def test_answers_come_in_order_and_do_not_depend_on_the_batch(trained, image):
    texts = ("what shape is it?", "is it red?", "is it blue?")
    together = trained.answer(image, texts)
    alone = trained.answer(image, texts, batch_size=1)
    filled = trained.answer([image] * 3, texts, batch_size=2)
    assert len(together) == len(alone) == len(filled) == 3
    for answers in zip(together, alone, filled, strict=True):
        assert len({answer.answer for answer in answers}) == 1
        for name in ("confidence", "macs_saved"):
            np.testing.assert_allclose([getattr(answer, name) for answer in answers], getattr(answers[0], name), 1e-5)


def test_a_text_that_is_longer_than_the_model_reads_is_marked(trained, image):
    length = trained.config.data.text_length
    fits, longer = " ".join(["red"] * (length - 2)), " ".join(["red"] * (length - 1))
    assert [answer.text_cut for answer in trained.answer(image, [fits, longer])] == [False, True]


def test_questions_are_cleaned_as_the_training_texts_were(trained, image):
    asked = Question((image,), "Is IT: (red) or blue")
    data = dataclasses.replace(trained.config.data, text_cleaning="blip_question", max_words=4)
    cleaning = dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data))
    prepared = cleaning.reader(asked)
    plain = trained.reader(Question((image,), "is it red or"))
    np.testing.assert_array_equal(prepared.ids, plain.ids)
    assert (prepared.text_cut, plain.text_cut) == (True, False)
    assert (trained.reader(asked).ids != plain.ids).any()


@pytest.mark.parametrize(
    ("question", "error"),
    [
        (Question(("nowhere.png",), "is it red?"), "nowhere.png"),
        (Question((), "is it red?"), "0 images"),
        (Question((__file__,), "is it red?"), "cannot read image"),
        (Question(("nowhere.png",), ""), "nowhere.png"),
    ],
)
def test_a_question_that_cannot_be_asked_is_named_and_the_others_are_answered(trained, image, question, error):
    good = Question((image,), "is it red?")
    first, second, third = trained.predictor([good, question, good], trained.trim())
    assert isinstance(second, Failure)
    assert error in second.error
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)
    assert first.answer == third.answer


def test_questions_are_explained_as_the_same_examples_of_the_data(trained, dataset, examples):
    asked = []
    for example in examples:
        record = dataset.records("test")[example.index]
        asked.append(Question((PIL.Image.fromarray(example.images[0]),), record["text"].decode()))
    for ours, expected in zip(explain(trained, asked_batches(trained, asked)), examples, strict=True):
        assert ours.label is None
        assert ours.correct
        np.testing.assert_array_equal(ours.patches, expected.patches)
        assert (ours.answer, ours.words, ours.dropped) == (expected.answer, expected.words, expected.dropped)


def test_explanations_say_what_the_record_says(dataset, examples):
    assert [example.index for example in examples] == list(range(3))
    for example in examples:
        assert example.patches.shape == (3, 1, 2, 2)
        assert (np.diff(example.patches.astype(int), axis=0) <= 0).all()
        assert example.text == dataset.records("test")[example.index]["text"].decode()
        assert len(example.dropped) == len(example.words)
        assert (example.references, example.found_images, example.found_texts) == ([], None, None)
        assert all(0 < end <= len(example.text_layers) for end in example.dropped)
        assert set(example.heads) == {
            "image 0",
            "image 1",
            "text 0",
            "fusion image 0",
            "fusion image 0 cross",
            "fusion text 0",
            "fusion text 0 cross",
        }


def test_the_page_holds_every_example_and_the_picture_every_layer(examples):
    page = build_page(examples, "three </script> of them")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    content = json.loads(data.group(1))
    assert content["title"] == "three </script> of them"
    assert len(content["examples"]) == 3
    for record, example in zip(content["examples"], examples, strict=True):
        bits = "".join(f"{int(layer[0], 16):04b}" for layer in record["patches"])
        assert bits == "".join(str(int(bit)) for bit in example.patches.reshape(-1))
    assert draw(examples[0]).width > 3 * 200
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.slow
def test_an_exported_file_needs_only_jax_and_answers_as_the_model_does(trained, dataset, tmp_path):
    file = tmp_path / "model.jaxexport"
    export_model(trained, str(file), batch_size=2, platforms=("cpu",))
    batch = next(iter(batches(trained, dataset, 2)))
    inputs = {name: batch[name] for name in ("image", "text_ids", "text_mask")}
    np.savez(tmp_path / "inputs.npz", **inputs)
    program = """
import sys, numpy, jax
from jax import export
inputs = numpy.load(sys.argv[2])
call = export.deserialize(bytearray(open(sys.argv[1], "rb").read())).call
output = jax.jit(call)(inputs["image"], inputs["text_ids"], inputs["text_mask"])
assert not any(name.startswith(("flax", "smarttrim")) for name in sys.modules)
numpy.savez(sys.argv[3], **output)
"""
    arguments = [str(file), str(tmp_path / "inputs.npz"), str(tmp_path / "outputs.npz")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=120)
    outputs = np.load(tmp_path / "outputs.npz")
    images = normalize(jnp.asarray(inputs["image"]), trained.config.pixels)
    forward = jax.jit(trained.model.apply)
    expected = forward(trained.params, images, inputs["text_ids"], inputs["text_mask"], trim=trained.trim())
    np.testing.assert_allclose(outputs["vqa"], expected.logits["vqa"], atol=1e-5)
    full = trained.model.macs(expected.record.opened(), trimmed=False)
    np.testing.assert_allclose(outputs["macs_ratio"], trained.model.macs(expected.record) / full, rtol=1e-5)


def measured(trained, dataset, sizes):
    examples = first_examples(trained, dataset, "test", 6)
    trims = {2.0: trained.trim()}
    execution = trained.config.execution
    return measure_trained(trained.model, trained.params, execution, trims, examples, examples, sizes, repeats=1)


def test_more_examples_at_a_time_than_there_are_is_refused(trained, dataset):
    with pytest.raises(ConfigError, match="asks for 7 examples at a time, but there are 6"):
        next(measured(trained, dataset, [2, 7]))


@pytest.mark.slow
def test_the_benchmark_quotes_every_execution_against_the_faster_reference(trained, dataset):
    rows = list(measured(trained, dataset, [2]))
    times = timings_of(rows, rows[0]["asked"])
    assert [(time.execution, time.seconds) for time in times] == [
        (row["execution"], row["seconds"]) for row in rows if row["execution"] != "full"
    ]
    assert [row["execution"] for row in rows] == ["full", "padded", "packed", "one_program"]
    baseline = min(row["seconds"] for row in rows[:2])
    for row in rows:
        assert row["speedup"] == pytest.approx(baseline / row["seconds"])
        assert row["realised"] == pytest.approx(row["speedup"] / row["macs_ratio"])
    assert [format_speed(row).split()[0] for row in rows] == ["full", "padded", "packed", "one_program"]


@pytest.mark.slow
@pytest.mark.parametrize("trimmed", [False, True])
def test_packed_evaluation_reports_what_padded_evaluation_reports(trained, dataset, evaluators, trimmed):
    padded, packed = evaluators

    def report(evaluator):
        some = batches(trained, dataset, limit=9)
        return evaluator.trimmed(some, trained.trim().offset) if trimmed else evaluator.full(some)

    expected, ours = report(padded), report(packed)
    chex.assert_trees_all_close(ours, expected, rtol=1e-6)
    assert packed.remarks["execution"]["programs"] > 0


def test_a_speed_beyond_the_dial_is_refused(trained):
    with pytest.raises(ConfigError, match="beyond this model"):
        trained.trim(1e4)


def asked_of(trained, together, images, texts):
    """The questions that a call of `answer` asks of a model that reads so many images together."""
    data = dataclasses.replace(trained.config.data, example_images=together)
    model = dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data))
    asked = []
    model.__dict__["predictor"] = lambda questions, trim, size: asked.extend(questions) or iter(())
    model.answer(images, texts)
    return asked


def test_the_images_of_a_question_are_told_from_those_of_several_questions(trained):
    a, b = "a.png", PIL.Image.new("RGB", (2, 2))
    pair = Question((a, b), "x")
    assert asked_of(trained, 1, [a, b], "x") == [Question((a,), "x"), Question((b,), "x")]
    assert asked_of(trained, 1, b"bytes", ["x", "y"]) == [Question((b"bytes",), "x"), Question((b"bytes",), "y")]
    assert asked_of(trained, 2, [a, b], "x") == [pair]
    assert asked_of(trained, 2, [[a, b]], "x") == [pair]
    assert asked_of(trained, 2, ((a, b), (b, a)), ["x", "y"]) == [pair, Question((b, a), "y")]
    assert asked_of(trained, 2, [[a, b], [a, b]], "x") == [pair, pair]
    for shape, questions in {(2, 4, 4, 3): 1, (3, 2, 4, 4, 3): 3}.items():
        asked = asked_of(trained, 2, np.zeros(shape, np.uint8), "x")
        assert [[image.shape for image in each.images] for each in asked] == [[(4, 4, 3)] * 2] * questions


def test_a_question_without_text_is_one_sentence(trained, image):
    with pytest.raises(DataError, match="only a model that writes captions needs no question"):
        trained.answer(image)
    with pytest.raises(DataError, match="there is no text; this model needs a question or a statement"):
        trained.answer(image, "")
