"""Whole runs of a tiny METER on tiny data: resumed, repeated, started from another run, evaluated, by many."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
from typing import Any

import chex
import jax
import outside
import pytest
from processes import Ended, run_together
from tiny_run import tiny_model

from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import CheckpointError, ConfigError, DataError, TrainingError
from smarttrim_jax.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import FusionConfig
from smarttrim_jax.serving.evaluation import evaluate, open_data
from smarttrim_jax.serving.trained_model import load_model
from smarttrim_jax.sharding import MeshConfig
from smarttrim_jax.training import run
from smarttrim_jax.training.checkpoint_reading import restore
from smarttrim_jax.training.initialization import starting_params
from smarttrim_jax.training.preemption import Preempted
from smarttrim_jax.training.progress import Progress
from smarttrim_jax.training.run import train
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.training.workdir import Workdir

TOTAL = 20


@pytest.fixture(scope="module")
def experiment(experiment: ExperimentConfig) -> ExperimentConfig:
    """The tiny experiment with a metric and a writer of a user's own."""
    own = outside.__name__
    return dataclasses.replace(
        experiment,
        schedule=dataclasses.replace(experiment.schedule, writers=(f"{own}:StepList",)),
        evaluation=dataclasses.replace(experiment.evaluation, metrics=("accuracy", f"{own}:Agreement")),
    )


@pytest.fixture(scope="module")
def finished(experiment: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a run that nobody disturbed."""
    path = str(tmp_path_factory.mktemp("finished"))
    train(experiment, path)
    return path


def metrics(path: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (pathlib.Path(path) / "metrics.jsonl").read_text().splitlines()]


def state(path: str) -> dict[str, Any]:
    return restore(Workdir(path).checkpoints, params_only=False)


def train_until(step: int, experiment: ExperimentConfig, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains until a signal comes while this step runs."""
    update = Progress.update

    def stop(self: Progress, reported: int, values: Any) -> None:
        update(self, reported, values)
        if reported == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", stop)
        with pytest.raises(Preempted, match=f"step {step}"):
            train(experiment, path)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    experiment: ExperimentConfig, finished: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_until(10, experiment, str(tmp_path), monkeypatch)
    train(experiment, str(tmp_path))

    chex.assert_trees_all_equal(state(str(tmp_path)), state(finished))
    assert metrics(str(tmp_path)) == metrics(finished)
    assert [line["step"] for line in metrics(finished)] == list(range(1, TOTAL + 1))
    assert (tmp_path / "steps.txt").read_text() == (pathlib.Path(finished) / "steps.txt").read_text()
    starts = json.loads((tmp_path / "environment.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 10]


@pytest.mark.slow
def test_another_seed_gives_another_run(
    experiment: ExperimentConfig, finished: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_until(2, dataclasses.replace(experiment, seed=1), str(tmp_path), monkeypatch)
    assert metrics(str(tmp_path))[0]["loss"] != metrics(finished)[0]["loss"]


def test_seed_and_generator_give_the_key_of_all_random_numbers(experiment: ExperimentConfig) -> None:
    keys = [dataclasses.replace(experiment, generator="rbg", seed=seed).random_key for seed in (0, 1)]
    assert not (jax.random.key_data(keys[0]) == jax.random.key_data(keys[1])).all()
    assert {str(jax.random.key_impl(key)) for key in keys} == {"rbg"}


def test_a_users_own_writer_takes_every_step(finished: str) -> None:
    steps = (pathlib.Path(finished) / "steps.txt").read_text().split()
    assert [int(step) for step in steps] == [line["step"] for line in metrics(finished)]


def test_every_start_says_what_the_run_is_made_by(finished: str) -> None:
    starts = json.loads((pathlib.Path(finished) / "environment.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0]
    assert starts[0]["versions"]["jax"] == jax.__version__
    assert starts[0]["devices"]["count"] == jax.device_count()


def test_every_term_of_the_loss_is_logged_by_name(finished: str) -> None:
    fine_tuning, trimming = metrics(finished)[0], metrics(finished)[-1]
    assert {"loss", "task_full"} <= fine_tuning.keys()
    assert "task_trimmed" not in fine_tuning
    terms = ("task_full", "task_trimmed", "distillation", "cost")
    assert trimming["loss"] == pytest.approx(sum(trimming[term] for term in terms), rel=1e-5)
    assert trimming["target_ratio"] == pytest.approx(0.5)


def test_the_report_says_what_was_kept_and_what_it_cost(finished: str) -> None:
    report = json.loads((pathlib.Path(finished) / "report.json").read_text())
    assert report["examples"] == 10
    assert {"full", "trimmed"} == report["metrics"].keys()
    assert report["primary"] == "accuracy"
    for scores in report["metrics"].values():
        assert list(scores) == ["accuracy", "agreement", "answers"]
        assert scores["answers"] == 10
    assert {"mean", "p50", "p90"} == report["macs"]["trimmed"].keys()
    assert report["speedup"]["asked"] == 2.0
    ratio = report["macs"]["full"]["mean"] / report["macs"]["trimmed"]["mean"]
    assert report["speedup"]["macs"] == pytest.approx(ratio, rel=1e-5)
    assert {run: len(parts["tokens"]) for run, parts in report["kept"].items()} == {
        "image": 2,
        "text": 1,
        "fusion_image": 1,
        "fusion_text": 1,
    }


def test_the_speed_dial_turns_one_model_faster_and_slower(finished: str) -> None:
    trained = load_model(finished)
    data = open_data(trained)
    slow, fast = (evaluate(trained, data, speedup=speedup) for speedup in (1.2, 2.2))
    assert slow["offset"] > fast["offset"]
    assert slow["macs"]["trimmed"]["mean"] > fast["macs"]["trimmed"]["mean"]
    with pytest.raises(ConfigError, match="beyond this model"):
        evaluate(trained, data, speedup=1e6)


class _Reached(Exception):  # noqa: N818 (no error: what is looked for)
    pass


@pytest.mark.slow
def test_a_run_starts_from_the_parameters_of_another(
    experiment: ExperimentConfig, finished: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned, given = dataclasses.replace(experiment, init_from=finished), {}

    def first_state(state: Any, *args: Any, **settings: Any) -> None:
        given.update(state, start=settings["start_step"])
        raise _Reached

    monkeypatch.setattr(run, "fit", first_state)
    with pytest.raises(_Reached):
        train(tuned, str(tmp_path))
    assert given["start"] == 0
    chex.assert_trees_all_equal(given["params"], state(finished)["params"])

    wider = fit_to_data(
        dataclasses.replace(tuned, model=tiny_model(fusion=FusionConfig(16, 1, 2, mlp_width=32))),
        prepare(experiment.data),
    )
    with pytest.raises(CheckpointError, match="another model"):
        starting_params(wider, jax.eval_shape(Functional(wider.model).init, jax.random.key(0)))


@pytest.mark.slow
def test_a_plain_checkpoint_gets_fresh_open_trimmers(experiment: ExperimentConfig, tmp_path: pathlib.Path) -> None:
    plain = dataclasses.replace(
        experiment,
        model=tiny_model(trimming=None),
        schedule=ScheduleConfig(full_steps=1, trim_steps=0, writers=()),
    )
    report = train(plain, str(tmp_path / "plain"))
    assert report["metrics"].keys() == {"full"}

    tuned = dataclasses.replace(experiment, init_from=str(tmp_path / "plain"))
    model = Functional(fit_to_data(tuned, prepare(tuned.data)).model)
    fresh = jax.jit(model.init)(jax.random.key(0))
    params = starting_params(tuned, fresh)
    chex.assert_trees_all_equal(params.pop("trimmers"), fresh["trimmers"])
    chex.assert_trees_all_equal(params, state(str(tmp_path / "plain"))["params"])


def test_sizes_that_do_not_fit_the_data_are_named(experiment: ExperimentConfig, tmp_path: pathlib.Path) -> None:
    vocabulary = dataclasses.replace(experiment.model.text, vocab_size=7)
    wrong = {
        "vocab_size": tiny_model(text=vocabulary),
        "outputs": tiny_model(heads=(HeadConfig("vqa", "classifier", 3129),)),
        "images": tiny_model(images=2),
    }
    for name, model in wrong.items():
        with pytest.raises(ConfigError, match=name):
            train(dataclasses.replace(experiment, model=model), str(tmp_path / name))


def test_a_folder_keeps_to_one_configuration(experiment: ExperimentConfig, finished: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.seed = 0, not 5"):
        train(dataclasses.replace(experiment, seed=5), finished)


def test_a_folder_without_a_run_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckpointError, match="no run"):
        load_model(tmp_path / "nothing")


def test_a_workdir_that_cannot_be_written_is_named_before_anything_else(
    experiment: ExperimentConfig, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="workdir"):
        train(experiment, str(tmp_path / "file" / "run"))


def report(folder: pathlib.Path) -> dict[str, Any]:
    """The figures of a report."""
    written = json.loads((folder / "report.json").read_text())
    return {name: value for name, value in written.items() if not isinstance(value, str)}


@pytest.fixture(scope="module")
def together(
    experiment: ExperimentConfig, finished: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, list[Ended]]:
    """The second half of a finished run again, by two processes; batches, parameters and moments are split."""
    folder = tmp_path_factory.mktemp("together")
    data = dataclasses.replace(experiment.data, data_dir=str(folder / "prepared"))
    config = dataclasses.replace(experiment, data=data, mesh=MeshConfig(data=1, fsdp=2))
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    shutil.copytree(pathlib.Path(finished) / "checkpoints" / "10", folder / "run" / "checkpoints" / "10")
    shutil.copy(pathlib.Path(finished) / "metrics.jsonl", folder / "run")
    flags = [f"--config={pathlib.Path(__file__).parent / 'tiny_config.py'}:{folder / 'config.json'}"]
    ended = run_together("-m", "smarttrim_jax.train", *flags, f"--workdir={folder / 'run'}")
    return folder / "run", ended


@pytest.mark.slow
def test_several_processes_train_as_one(together: Any, finished: str) -> None:
    folder, ended = together
    assert [end.status for end in ended] == [0, 0], ended
    chex.assert_trees_all_close(metrics(str(folder))[10:], metrics(finished)[10:], rtol=1e-5, atol=1e-6)
    assert len(metrics(str(folder))) == len(metrics(finished))
    ours, expected = (restore(Workdir(str(path)).checkpoints) for path in (folder, finished))
    chex.assert_trees_all_close(ours, expected, atol=1e-4)


@pytest.mark.slow
def test_one_process_prepares_the_data_and_speaks_for_all(together: Any) -> None:
    first, second = together[1]
    assert first.stdout.count("preparing easy_vqa") == 1
    assert "speed-up in MACs" in first.stdout
    assert "easy_vqa" not in second.stdout
    assert "step" not in second.stderr


@pytest.mark.slow
def test_several_processes_evaluate_as_one(together: Any, finished: str) -> None:
    ours, expected = (report(pathlib.Path(folder)) for folder in (together[0], finished))
    assert ours["examples"] == 10  # which the batches of 4 do not divide
    assert ours["metrics"]["trimmed"]["answers"] == 10
    chex.assert_trees_all_close(ours, expected, rtol=1e-5)


@pytest.mark.slow
def test_one_process_evaluates_what_several_trained(together: Any) -> None:
    folder, _ = together
    trained = load_model(folder)
    ours = evaluate(trained, open_data(trained))
    numbers = {name: value for name, value in ours.items() if not isinstance(value, str)}
    chex.assert_trees_all_close(numbers, report(folder), rtol=1e-5)


def test_other_data_than_it_was_trained_on_is_refused(
    experiment: ExperimentConfig, finished: str, tmp_path: pathlib.Path
) -> None:
    raw = shutil.copytree(experiment.data.source, tmp_path / "raw")
    (raw / "answers.txt").write_text("\n".join(reversed((raw / "answers.txt").read_text().split())))
    trained = load_model(finished)
    data = dataclasses.replace(trained.config.data, source=str(raw), data_dir=str(tmp_path / "other"))
    with pytest.raises(DataError, match="not the data that this model was trained on"):
        open_data(dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data)))


def test_a_finished_run_answers_without_its_data(finished: str, experiment: ExperimentConfig) -> None:
    image = next(pathlib.Path(experiment.data.source).rglob("*.png"))
    (answer,) = load_model(finished).answer(image, "is it red?", speedup=2.0)
    assert answer.answer in ("circle", "red", "yes", "no")
    assert 0 <= answer.macs_saved < 1
