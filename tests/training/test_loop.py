"""A run loses nothing: restarts, crashes, preemption, bad numbers."""

import json
import pathlib
import signal

import chex
import jax
import jax.numpy as jnp
import pytest
import toy_run

from smarttrim_jax.errors import TrainingError
from smarttrim_jax.training.checkpoint_reading import restore, saved_steps
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.preemption import Preempted


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[toy_run.TrainState, toy_run.Batches]:
    return toy_run.run(tmp_path_factory.mktemp("uninterrupted"))


def lines(workdir: pathlib.Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_same_end(
    run: tuple[toy_run.TrainState, toy_run.Batches], expected: tuple[toy_run.TrainState, toy_run.Batches]
) -> None:
    chex.assert_trees_all_equal(run[0], expected[0])
    assert run[1].get_state() == expected[1].get_state()


def test_training_learns(tmp_path):
    toy_run.run(tmp_path)
    losses = [line["loss"] for line in lines(tmp_path)]
    assert losses[-1] < 0.2 * losses[0]


def test_a_restart_ends_bit_for_bit_where_one_run_ends(uninterrupted, tmp_path):
    toy_run.run(tmp_path, total=10)
    assert_same_end(toy_run.run(tmp_path), uninterrupted)


def test_each_step_has_one_line_after_a_crash_and_a_resume(uninterrupted, tmp_path):
    class CrashError(Exception):
        pass

    def crash(step: int) -> None:
        if step == 14:
            raise CrashError

    with pytest.raises(CrashError):
        toy_run.run(tmp_path, batches=toy_run.Batches(crash))
    assert lines(tmp_path)[-1]["step"] > 10
    assert_same_end(toy_run.run(tmp_path), uninterrupted)
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 21))


def test_kill_in_the_middle_of_a_save_loses_only_the_steps_since_the_last_one(uninterrupted, tmp_path, caplog):
    killed = toy_run.run_in_process(tmp_path, "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    names = [entry.name for entry in (tmp_path / "checkpoints").iterdir()]
    assert any("tmp" in name for name in names), names
    assert list(saved_steps(tmp_path / "checkpoints")) == [5]
    # Other save points than before: the remains go away even where nothing is written in their place.
    assert_same_end(toy_run.run(tmp_path, every=6), uninterrupted)
    assert "removing saves that were interrupted: 10.orbax-checkpoint-tmp" in caplog.text
    assert not any("tmp" in entry.name for entry in (tmp_path / "checkpoints").iterdir())


def test_sigterm_saves_and_a_restart_goes_on(uninterrupted, tmp_path):
    stopped = toy_run.run_in_process(tmp_path, "preempted")
    assert stopped.returncode == 143, stopped.stderr
    assert "stopped by SIGTERM after step 8, which is saved" in stopped.stdout
    assert list(saved_steps(tmp_path / "checkpoints"))[-1] == 8
    assert_same_end(toy_run.run(tmp_path), uninterrupted)


def test_ctrl_c_saves_and_handlers_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def interrupt(step: int) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Preempted) as stopped:
        toy_run.run(tmp_path, batches=toy_run.Batches(interrupt))
    assert (stopped.value.step, stopped.value.exit_code) == (3, 130)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_preempted_run_whose_save_fails_does_not_claim_to_have_saved(tmp_path):
    class FailingCheckpoints(Checkpoints):
        saving = False

        def save(self, *arguments: object) -> None:
            self.saving = True

        def wait(self) -> None:
            if self.saving:
                raise TrainingError("the disk is full")

    def interrupt(step: int) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingError, match="the disk is full"):
        toy_run.run(tmp_path, batches=toy_run.Batches(interrupt), checkpoints_class=FailingCheckpoints)


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    def interrupt(step: int) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    # A shell that starts the tests in the background lets them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            toy_run.run(tmp_path, batches=toy_run.Batches(interrupt))
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("bad_step", [5, 7])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_never_saved(tmp_path, bad_step):
    @jax.jit
    def poisoned(state, batch):
        state, metrics = toy_run.train_step()(state, batch)
        params = jax.tree.map(lambda x: x * jnp.nan, state["params"])
        return {**state, "params": params}, {**metrics, "loss": jnp.nan}

    def step_fn(step, state):
        return poisoned if step + 1 == bad_step else toy_run.train_step()

    workdir = tmp_path / "run"
    with pytest.raises(TrainingError) as stopped:
        toy_run.run(workdir, every=5 if bad_step == 5 else 2, step_fn=step_fn)
    message = str(stopped.value)
    assert f"step {bad_step}: not finite: loss = nan" in message
    good = list(saved_steps(workdir / "checkpoints").values())
    assert (good[-1] if good else "is none") in message
    assert [int(path.rsplit("/", 1)[1]) for path in good] == ([] if bad_step == 5 else [4, 6])
    if good:
        chex.assert_tree_all_finite(restore(workdir / "checkpoints", params_only=False))
    assert lines(workdir)[-1] == {"step": bad_step, "loss": None, "log_loss": lines(workdir)[-1]["log_loss"]}


@pytest.mark.parametrize("preempted", [False, True])
def test_parameters_that_turn_bad_while_the_loss_is_good_are_never_saved(tmp_path, preempted):
    @jax.jit
    def overshoot(state, batch):
        state, metrics = toy_run.train_step()(state, batch)
        return {**state, "params": jax.tree.map(lambda x: x * jnp.inf, state["params"])}, metrics

    def interrupt(step):
        if preempted and step == 10:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingError) as stopped:
        toy_run.run(
            tmp_path,
            every=6 if preempted else 5,
            batches=toy_run.Batches(interrupt),
            step_fn=lambda done, state: overshoot if done == 9 else toy_run.train_step(),
        )
    good = tmp_path / "checkpoints" / ("6" if preempted else "5")
    assert "step 10: not finite after the update: params/head/bias, params/head/kernel, " in str(stopped.value)
    assert f"the last good checkpoint is {good}; " in str(stopped.value)
    assert list(saved_steps(tmp_path / "checkpoints").values()) == [str(good)]
    chex.assert_tree_all_finite(restore(tmp_path / "checkpoints", params_only=False))


def test_data_that_ends_early_is_said(tmp_path):
    def end(step: int) -> None:
        if step == 4:
            raise StopIteration

    with pytest.raises(TrainingError, match="the data ended before step 4 of 20"):
        toy_run.run(tmp_path, batches=toy_run.Batches(end))


def test_the_compiled_function_may_change_between_phases(tmp_path, capfd):
    second = jax.jit(lambda state, batch: toy_run.train_step()(state, batch))
    toy_run.run(tmp_path, step_fn=lambda step, state: toy_run.train_step() if step < 10 else second)
    printed = capfd.readouterr().err
    assert "compiling step 1: " in printed
    assert "compiling step 11: " in printed


def test_a_finished_run_does_nothing_more(uninterrupted, tmp_path):
    toy_run.run(tmp_path)
    assert_same_end(toy_run.run(tmp_path), uninterrupted)
    assert len(lines(tmp_path)) == 20
