"""Evaluations by whatever metrics: exact, with texts, of a user's own, and an answer a line for every example."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import outside
import pytest

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.pipeline import EvalBatches
from smarttrim_jax.data.submissions import Result, nlvr2_results
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.evaluation.evaluator import Evaluator, Judged, Report
from smarttrim_jax.evaluation.report import build_report
from smarttrim_jax.metrics import NamedValues, Scores
from smarttrim_jax.reporting.page import build_page
from smarttrim_jax.reporting.tables import format_report
from smarttrim_jax.serving.evaluation import evaluate
from smarttrim_jax.serving.explanation import explain
from smarttrim_jax.serving.predictions import Predictions, ResultsFiles, Submission
from smarttrim_jax.serving.trained_model import TrainedModel

METRICS = (f"{outside.__name__}:Agreement", "accuracy")


@pytest.fixture(scope="module")
def with_metrics(trained: TrainedModel) -> TrainedModel:
    """The tiny model, judged by a metric from outside the package first."""
    return changed(trained, metrics=METRICS)


@pytest.fixture(scope="module")
def evaluator(with_metrics: TrainedModel, dataset: Dataset) -> Evaluator:
    return Evaluator(with_metrics.task, with_metrics.params, dataset)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    return Predictions(str(tmp_path_factory.mktemp("predicted") / "folder" / "lines.jsonl"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Submission:
    def form(results: Sequence[Result]) -> str:
        return "".join(f"{result.id} {result.text} {result.metadata}\n" for result in results)

    return Submission(form, str(tmp_path_factory.mktemp("submitted") / "results.txt"))


@pytest.fixture(scope="module")
def report(evaluator: Evaluator, with_metrics: TrainedModel, lines: Predictions, results: Submission) -> Report:
    return build_report(evaluator, with_metrics.dial, "test", 2.0, ResultsFiles([lines, results]))


def changed(trained: TrainedModel, **evaluation: Any) -> TrainedModel:
    """The model with other settings of its evaluation."""
    config = trained.config
    evaluation = dataclasses.replace(config.evaluation, **evaluation)
    return dataclasses.replace(trained, config=dataclasses.replace(config, evaluation=evaluation))


def test_a_metric_from_outside_is_given_every_example_once(report: Report) -> None:
    assert report["examples"] == 10  # which the batches of 4 do not divide
    assert report["primary"] == "agreement"
    for scores in report["metrics"].values():
        assert list(scores) == ["agreement", "answers", "accuracy"]
        assert scores["answers"] == 10
        assert scores["agreement"] == scores["accuracy"]
    table = format_report(report)
    assert [line.split()[0] for line in table.splitlines()[2:5]] == ["agreement", "answers", "accuracy"]


def test_fillers_count_nowhere(evaluator: Evaluator, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = []
    for batch in evaluator.batches("test"):
        is_filler = batch["weight"] == 0
        # A filler repeats an example; here each of them is wrong.
        wrong.append(batch | {"label": np.where(is_filler, (batch["label"] + 1) % 4, batch["label"])})
    assert sum(int((batch["weight"] == 0).sum()) for batch in wrong) == 2
    monkeypatch.setattr(EvalBatches, "__iter__", lambda _: iter(wrong))
    assert evaluator.full(evaluator.batches("test"))["metrics"] == report["metrics"]["full"]


def test_the_share_is_that_of_the_answers(evaluator: Evaluator, report: Report) -> None:
    judged: list[Judged] = []
    evaluator.full(evaluator.batches("test"), judged.append)
    right = [a == b for each in judged for a, b in zip(each.outputs["answer"], each.targets["answer"], strict=True)]
    assert report["metrics"]["full"]["accuracy"] == sum(right) / 10
    assert np.concatenate([each.indices for each in judged]).tolist() == list(range(10))


def test_predictions_are_a_line_for_every_example_of_the_split(
    report: Report, lines: Predictions, dataset: Dataset, tmp_path: pathlib.Path
) -> None:
    lines.write()
    written = [json.loads(line) for line in lines._path.read_text().splitlines()]
    records = [dataset.records("test")[index] for index in range(10)]
    assert [line["id"] for line in written] == [record["id"].decode() for record in records]
    assert [line["target"] for line in written] == [dataset.answer_names[record["answer"]] for record in records]
    right = [line["answer"] == line["target"] for line in written]
    assert np.mean(right) == report["metrics"]["trimmed"]["accuracy"]
    macs = [line["macs"] for line in written]
    assert np.mean(macs) == pytest.approx(report["macs"]["trimmed"]["mean"], abs=0.5)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write '.*file/lines.jsonl': .*; choose another --predictions"):
        Predictions(str(tmp_path / "file" / "lines.jsonl"))


def test_an_evaluation_fills_a_submission(
    report: Report, dataset: Dataset, lines: Predictions, results: Submission
) -> None:
    said = [json.loads(line) for line in lines.contents().splitlines()]
    assert results.contents() == "".join(f"{line['id']} {line['answer']} {{}}\n" for line in said)
    assert [line["id"] for line in said] == dataset.ids("test", range(10))


def judged(indices: list[int], outputs: dict[str, Any]) -> Judged:
    """Results of examples whose ids and metadata tell their positions."""
    targets = {"id": [f"id-{index}" for index in indices], "metadata": [{"question_id": index} for index in indices]}
    named = NamedValues("output", outputs), NamedValues("target", targets)
    return Judged(np.array(indices), *named, np.ones(len(indices)))


def test_a_submission_holds_every_result_once_in_the_form_of_the_benchmark(tmp_path: pathlib.Path) -> None:
    given: list[Result] = []
    path = tmp_path / "folder" / "results.txt"

    def form(results: Sequence[Result]) -> str:
        given.extend(results)
        return "written"

    files = ResultsFiles([Submission(form, str(path))])
    assert files.needs == ("caption", "id", "metadata")
    files(judged([2, 0], {"answer": ["two", "zero"]}))
    files(judged([1], {"caption": ["one"]}))
    files.write()
    assert path.read_text() == "written"
    assert [result.text for result in given] == ["zero", "one", "two"]
    assert given[1] == Result("id-1", {"question_id": 1}, "one")
    with pytest.raises(DataError, match=r"gives neither answers nor captions; leave out --submission"):
        files(judged([3], {"image_features": np.ones((1, 2))}))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write '.*file/results.csv': .*; choose another --submission"):
        Submission(nlvr2_results, str(tmp_path / "file" / "results.csv"))


def test_the_explained_examples_are_scored_as_the_evaluated_ones(
    evaluator: Evaluator, with_metrics: TrainedModel, report: Report
) -> None:
    scores = Scores(METRICS)
    batches = evaluator.batches("test")
    examples = list(explain(with_metrics, batches, 2.0, scores))
    computed = scores.compute()
    assert computed == report["metrics"]["trimmed"]
    assert computed["accuracy"] == np.mean([example.correct for example in examples])
    page = build_page(examples, "page", computed | {"odd": None})
    assert f'"scores":{{"agreement":"{computed["agreement"]:.4f}","answers":"10.0000",' in page
    assert '"odd":""' in page


def test_metrics_of_a_folder_are_never_imported(trained: TrainedModel, dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"pass --plugins=this\.that"):
        evaluate(changed(trained, metrics=("this.that:Metric",)), dataset)
    with pytest.raises(ConfigError, match="there is no metric 'acuracy'"):
        evaluate(trained, dataset, metrics=("acuracy",))
