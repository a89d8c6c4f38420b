"""A linear model trained by `fit`: what the tests of the loop run, here or in processes of its own."""

import contextlib
import functools
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import smarttrim_jax
from smarttrim_jax.errors import TrainingError
from smarttrim_jax.experiment import OptimizerConfig
from smarttrim_jax.processes import Timeouts, joined
from smarttrim_jax.sharding import MeshConfig, held_rows, make_mesh, place, place_batch, state_shardings
from smarttrim_jax.training import checkpoints
from smarttrim_jax.training.checkpoint_reading import DamagedCheckpointError, saved_steps
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.loop import TrainStep, fit
from smarttrim_jax.training.optimizer import make_optimizer
from smarttrim_jax.training.preemption import Preempted
from smarttrim_jax.training.progress import Progress
from smarttrim_jax.training.run_lock import locked
from smarttrim_jax.training.step import TrainState
from smarttrim_jax.training.writers import Writers

TOTAL, EVERY = 20, 5


class Batches:
    """Batch i is drawn from seed i; the position is the number of the next one."""

    def __init__(self, on_step: Callable[[int], None] | None = None) -> None:
        self.next, self._on_step = 0, on_step

    def __next__(self) -> dict[str, jax.Array]:
        random = np.random.default_rng(self.next)
        self.next += 1
        if self._on_step is not None:
            self._on_step(self.next)
        x = random.standard_normal((8, 3), dtype=np.float32)
        mesh = make_mesh(MeshConfig())
        mine = x[held_rows(mesh, len(x))]
        return place_batch({"x": mine, "y": mine.sum(1, keepdims=True)}, mesh)

    def get_state(self) -> dict[str, int]:
        return {"next": self.next}

    def set_state(self, state: dict[str, int]) -> None:
        self.next = state["next"]


def loss_fn(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
    hidden = batch["x"] @ params["image"]["layers"]["kernel"]
    return jnp.mean((hidden @ params["head"]["kernel"] + params["head"]["bias"] - batch["y"]) ** 2)


def initial_params() -> Any:
    return {
        "image": {"layers": {"kernel": 0.5 * jnp.eye(3)}},
        "head": {"kernel": jnp.full((3, 1), 0.1), "bias": jnp.zeros(1)},
    }


@functools.cache
def optimizer() -> optax.GradientTransformation:
    config = OptimizerConfig(learning_rate=0.05, schedule="cosine", head=2.0, clip_norm=1.0)
    return make_optimizer(config, initial_params(), TOTAL, lambda name: "backbone")


def initial_state() -> TrainState:
    params = initial_params()
    state = {"params": params, "opt_state": optimizer().init(params)}
    return place(state, state_shardings(state, make_mesh(MeshConfig()), lambda name: False))


@functools.cache
def train_step() -> TrainStep:
    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        loss, gradients = jax.value_and_grad(loss_fn)(state["params"], batch)
        updates, opt_state = optimizer().update(gradients, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {"params": params, "opt_state": opt_state}, {"loss": loss, "log_loss": jnp.log(loss)}

    return step


def run(
    workdir: pathlib.Path,
    *,
    total: int = TOTAL,
    every: int = EVERY,
    log_every: int = 1,
    batches: Batches | None = None,
    step_fn: Callable[[int, TrainState], TrainStep] | None = None,
    checkpoints_class: type[Checkpoints] = Checkpoints,
) -> tuple[TrainState, Batches]:
    """Starts a run, or takes up the one in `workdir`; returns the last state and the data."""
    batches = batches or Batches()
    state, start = initial_state(), 0
    with contextlib.ExitStack() as stack:
        saves = checkpoints_class(workdir / "checkpoints", every=every, keep=2)
        stack.enter_context(contextlib.closing(saves))
        restored = saves.restore_latest(state)
        if restored is not None:
            start, state, data_state = restored
            batches.set_state(data_state)
        writer = stack.enter_context(contextlib.closing(Writers((), workdir, start)))
        progress = stack.enter_context(contextlib.closing(Progress(total, ("loss",), every=5)))
        state = fit(
            state,
            step_fn or (lambda step, state: train_step()),
            batches,
            start_step=start,
            total_steps=total,
            checkpoints=saves,
            writer=writer,
            progress=progress,
            log_every=log_every,
            save_metadata={"config": {"total": total}},
            finite_terms=("loss",),
        )
    return state, batches


class DyingCheckpoints(Checkpoints):
    """Kills its process in the middle of the save of step 10."""

    def save(self, step: int, state: TrainState, data_state: Any, metadata: dict[str, Any]) -> None:
        if step != 2 * EVERY:
            super().save(step, state, data_state, metadata)
            return
        ballast = jnp.zeros(2**24)
        super().save(step, {**state, "ballast": ballast}, data_state, metadata)
        while not any("tmp" in entry for entry in os.listdir(self.directory)):
            pass
        os.kill(os.getpid(), signal.SIGKILL)


class FullDiskCheckpoints(Checkpoints):
    """From the save of step 10 on, no file may grow past 100 bytes, as on a full disk."""

    def save(self, step: int, state: TrainState, data_state: Any, metadata: dict[str, Any]) -> None:
        if step == 2 * EVERY:
            self.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        super().save(step, state, data_state, metadata)


class DamagedForOneCheckpoints(Checkpoints):
    """The last process finds a bit flipped in the latest checkpoint, which the others read without fault."""

    def restore_latest(self, abstract_state: TrainState) -> Any:
        latest = saved_steps(self.directory)[2 * EVERY]
        read = checkpoints.load

        def load(path: str, targets: TrainState) -> TrainState:
            state = read(path, targets)
            if path == latest and jax.process_index() == jax.process_count() - 1:
                raise DamagedCheckpointError("one bit")
            return state

        checkpoints.load = load
        return super().restore_latest(abstract_state)


class NoRoomCheckpoints(Checkpoints):
    """From the save of step 10 on, the first process finds the disk full."""

    def save(self, step: int, state: TrainState, data_state: Any, metadata: dict[str, Any]) -> None:
        if step == 2 * EVERY and jax.process_index() == 0:
            full = shutil.disk_usage(self.directory)._replace(free=1)
            shutil.disk_usage = lambda path: full
        super().save(step, state, data_state, metadata)


def run_python(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs Python with this package in a process of its own."""
    root = pathlib.Path(smarttrim_jax.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment)


def run_in_process(workdir: pathlib.Path, how: str) -> subprocess.CompletedProcess[str]:
    """Runs `main` in a process of its own."""
    return run_python(__file__, str(workdir), how)


def signal_at(wanted: int, number: int, *, to_all: bool = False) -> Callable[[int], None]:
    """Sends the last process of the run, or every one, a signal at a step."""

    def send(step: int) -> None:
        last = jax.process_count() - 1
        if step == wanted and (to_all or jax.process_index() == last):
            os.kill(os.getpid(), number)
        if step >= wanted and last:
            time.sleep(1)  # processes hear of it from each other in the background

    return send


def diverge(step: int, state: TrainState) -> TrainStep:
    """Steps whose loss is not finite from 15 on."""
    if step < 14:
        return train_step()
    return jax.jit(lambda state, batch: (state, {"loss": jnp.log(-jnp.mean(batch["x"] ** 2))}))


def main() -> None:
    with joined("auto", Timeouts(heartbeat=10)):
        train()


def train() -> None:
    workdir, how = pathlib.Path(sys.argv[1]), sys.argv[2]
    try:
        if how == "killed":
            run(workdir, checkpoints_class=DyingCheckpoints)
        elif how == "lost":
            run(workdir, batches=Batches(signal_at(14, signal.SIGKILL)))
        elif how == "diverged":
            run(workdir, step_fn=diverge)
        elif how == "preempted":
            run(workdir, batches=Batches(signal_at(8, signal.SIGTERM)))
        elif how == "all preempted":
            run(workdir, batches=Batches(signal_at(8, signal.SIGTERM, to_all=True)))
        elif how == "locked":
            with locked(workdir):
                run(workdir)
        elif how == "damaged for one":
            run(workdir, checkpoints_class=DamagedForOneCheckpoints)
        elif how == "no room":
            run(workdir, checkpoints_class=NoRoomCheckpoints)
        elif how == "disk full":
            run(workdir, log_every=TOTAL, checkpoints_class=FullDiskCheckpoints)
    except Preempted as stopped:
        print(stopped)
        sys.exit(stopped.exit_code)
    except TrainingError as error:
        print(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
