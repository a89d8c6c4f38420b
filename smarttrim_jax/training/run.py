"""One run from its configuration to its report."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.pipeline import train_iterator
from smarttrim_jax.evaluation.evaluator import Evaluator, Report
from smarttrim_jax.evaluation.report import build_report, measure_dial
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.sharding import held_rows, make_mesh, place, place_batch, state_shardings
from smarttrim_jax.tasks import Task, make_task
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.initialization import starting_params, with_vocabulary
from smarttrim_jax.training.loop import TrainStep, fit
from smarttrim_jax.training.preemption import leaving_on_sigterm
from smarttrim_jax.training.progress import Progress
from smarttrim_jax.training.provenance import record_start
from smarttrim_jax.training.run_data import check_run, fit_to_data, prepare_everywhere
from smarttrim_jax.training.run_lock import locked
from smarttrim_jax.training.step import Steps, TrainState, jit_step
from smarttrim_jax.training.workdir import Workdir, describe
from smarttrim_jax.training.writers import Writers

SHOWN = (
    "loss",
    "task_full",
    "task_trimmed",
    "distillation",
    "cost",
    "accuracy",
    "macs_ratio",
    "target_ratio",
    "overflow",
)


def train(config: ExperimentConfig, path: str, config_file: str | None = None) -> Report:
    """Prepares the data if needed, trains (or resumes), calibrates the speed dial, and evaluates.

    Args:
        config: Run configuration.
        path: Folder of the run; see `training.workdir`. A run found there is resumed.
        config_file: File that the configuration came from, whose git commit is recorded; None if there is none.

    Returns:
        The final report, which is also written as `report.json`; see `evaluation.report.build_report`.

    Raises:
        SmartTrimError: The configuration, data set, checkpoint or disk cannot be used.
        Preempted: SIGTERM or Ctrl-C was received; the state is saved.
    """
    workdir = Workdir(path)
    workdir.create()
    with leaving_on_sigterm(), locked(workdir.path) as check_lock:
        config = with_vocabulary(config)
        dataset = prepare_everywhere(config.data)
        config = fit_to_data(config, dataset)
        held_rows(make_mesh(config.mesh), config.data.batch_size)  # Fails if the devices cannot share a batch.
        check_run(config, dataset)
        workdir.check_same_run(config)
        return _train_locked(config, workdir, dataset, check_lock, config_file)


def _train_locked(
    config: ExperimentConfig,
    workdir: Workdir,
    dataset: Dataset,
    check_lock: Callable[[], None],
    config_file: str | None,
) -> Report:
    task = make_task(config, dataset.language)
    evaluator = Evaluator(task, trained_params(task, workdir, dataset, check_lock, config_file), dataset)
    dial = None
    if config.schedule.trim_steps:
        dial = measure_dial(evaluator)
        workdir.write_dial(dial)
    report = build_report(evaluator, dial, config.evaluation.split, config.cost.target_speedup)
    workdir.write_report(report)
    return report


def trained_params(
    task: Task,
    workdir: Workdir,
    dataset: Dataset,
    check_lock: Callable[[], None] = lambda: None,
    config_file: str | None = None,
) -> Params:
    """Trains to the last step, from the latest checkpoint of the folder if there is one.

    Args:
        task: Task that is trained.
        workdir: Folder of the run, which gets the run's configuration once the first step can be taken.
        dataset: Data set of the run.
        check_lock: Called before each save; raises if another training has taken over the folder.
        config_file: File that the configuration came from; None if there is none.

    Returns:
        The trained parameters, sharded over the run's mesh.

    Raises:
        CheckpointError: No checkpoint of the folder can be read, or they are of another model.
        ConfigError: The folder holds a run of another configuration.
        TrainingError: Training failed; see `training.loop.fit`.
        Preempted: SIGTERM or Ctrl-C was received; the state is saved.
    """
    config = task.config
    mesh, schedule = make_mesh(config.mesh), config.schedule
    abstract = jax.eval_shape(task.model.init, config.random_key)
    steps = Steps.of(task, abstract)
    state_shape = jax.eval_shape(steps.initial_state, abstract)
    shardings = state_shardings(state_shape, mesh, config.model.is_stacked)
    state_shape = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state_shape,
        shardings,
    )
    checkpoints = Checkpoints(workdir.checkpoints, schedule.save_every, schedule.keep, check_lock)
    restored = checkpoints.restore_latest(state_shape)
    start = 0 if restored is None else restored[0]
    state = _initial_state(steps, shardings) if restored is None else restored[1]
    batches = _Batches(dataset, config, mesh, start)
    workdir.claim(config)
    workdir.write_language(dataset.language)
    record_start(workdir.path, start, config_file)

    writer = Writers(schedule.writers, workdir.path, start)
    progress = Progress(schedule.total_steps, SHOWN, schedule.log_every)
    try:
        with jax.set_mesh(mesh):
            state = fit(
                state,
                _Programs(steps, shardings, progress),
                batches,
                start_step=start,
                total_steps=schedule.total_steps,
                checkpoints=checkpoints,
                writer=writer,
                progress=progress,
                log_every=schedule.log_every,
                save_metadata=describe(config),
                finite_terms=(*SHOWN, "gradient_norm"),
            )
    finally:
        batches.close()
        progress.close()
        writer.close()
        checkpoints.close()
    params: Params = state["params"]
    return params


class _Programs:
    """The compiled step of every moment of a run.

    Args:
        steps: The run's steps.
        shardings: Sharding of every array of the state.
        progress: Told when the trimmed pass begins to hold fewer tokens.
    """

    def __init__(self, steps: Steps, shardings: Any, progress: Progress):
        self._steps = steps
        self._progress = progress
        self._has_measured = False
        self._compiled = functools.cache(lambda step: jit_step(step, shardings))

    def __call__(self, done: int, state: TrainState) -> TrainStep:
        """Selects the step that follows a number of done steps.

        Args:
            done: Number of steps done.
            state: The training state after them.

        Returns:
            The jitted step.
        """
        if not self._has_measured and self._steps.stands_still(done):
            # Read once: after the curriculum it stays as it is, and reading it waits for the step before.
            self._steps = self._steps.with_measured(state)
            self._has_measured = True
            if held := self._steps.capacity.described:
                self._progress.say(f"from step {done + 1} on, trimmed passes hold {held}")
        program: TrainStep = self._compiled(self._steps.after(done))
        return program


def _initial_state(steps: Steps, shardings: Any) -> TrainState:
    """Training state of freshly drawn parameters, or of those that `init_from` names."""
    config = steps.config
    key = config.random_key
    # The program runs once: full optimisation of its many random draws would cost more on a CPU than some steps.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    init = functools.partial(jax.jit, steps.task.model.init, compiler_options=options)
    if config.init_from:
        params = place(starting_params(config, init()(key)), shardings["params"])
    else:
        params = init(out_shardings=shardings["params"])(key)
    state: TrainState = jax.jit(steps.initial_state, out_shardings=shardings)(params)
    return state


class _Batches:
    """The train split as batches on the devices, one per step.

    The saved position is a number of batches, so that a run can be resumed with another number of `data.workers`.

    Args:
        dataset: Data set of the run.
        config: Run configuration.
        mesh: Mesh over which batches are sharded.
        start: Number of batches given before.
    """

    def __init__(self, dataset: Dataset, config: ExperimentConfig, mesh: jax.sharding.Mesh, start: int) -> None:
        self._iterator = train_iterator(dataset, config.data, held_rows(mesh, config.data.batch_size), start)
        self._mesh = mesh
        self._given = start

    def __next__(self) -> Any:
        batch = place_batch(next(self._iterator), self._mesh)
        self._given += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """Returns the number of batches given so far, the position to save."""
        return {"batches": self._given}

    def close(self) -> None:
        """Stops the reading threads and processes."""
        self._iterator.close()
