"""Runs of several processes: how they find each other, take turns, and end."""

import contextlib
import dataclasses
import importlib.util
import os
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError, SmartTrimError, TrainingError
from smarttrim_jax.ranges import between

T = TypeVar("T")

# A shell script that prints the last line of its input, unless that line is empty.
_SAY_LAST = 'while IFS= read -r line; do last=$line; done; [ -z "$last" ] || echo "$last" >&2'
# Seconds. At the end, processes wait while process 0 works alone; a lost one is noticed by its missing heartbeat.
_SHUTDOWN_TIMEOUT = 10**6
# Seconds. Process 0 runs the coordinator, without which the others cannot report what stopped them.
_COORDINATOR_STAYS = 3.0
_LONGEST_SENTENCE = 2000
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
# The number that Slurm gives to the step of an interactive shell (SLURM_INTERACTIVE_STEP, 0xfffffffa).
_INTERACTIVE_STEP = "4294967290"
# Seconds of waiting for other processes after which a sentence is printed.
_WAITING_IS_SAID_AFTER = 10.0
# Status codes of the runtime for errors that a new start would meet again, and that are no lost process.
_OWN_FAULTS = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED")

LOST_PROCESS = os.EX_TEMPFAIL
"""Exit status 75: another process is lost; started again on all hosts, the command continues from the last save."""
_TPU_HOSTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")


@dataclasses.dataclass(frozen=True)
class Timeouts(Settings):
    """How long to wait for other processes, in seconds.

    Attributes:
        connect: Seconds until all have come.
        heartbeat: Seconds without a sign of life of one, until it counts as lost and the others end.
    """

    connect: Annotated[int, between(1, _SHUTDOWN_TIMEOUT)] = 300
    heartbeat: Annotated[int, between(1, _SHUTDOWN_TIMEOUT)] = 100


@contextlib.contextmanager
def joined(mode: str, timeouts: Timeouts) -> Iterator[int]:
    """Makes this process part of its run while the context is entered; enter it before anything uses a device.

    If one process raises an error it ends at once with status 1. The others end within the heartbeat's timeout, with
    `LOST_PROCESS` or by SIGABRT. Each prints a sentence on standard error.

    Args:
        mode: "auto" joins if the environment tells of several processes, "on" always, "off" never.
        timeouts: How long to wait for other processes.

    Yields:
        The index of this process, 0 if it is alone.

    Raises:
        ConfigError: The environment does not tell which process this is, or tells it wrongly, or the processes cannot
            be joined.
    """
    environment = os.environ
    if mode == "off" or (mode == "auto" and not is_one_of_many(environment)):
        yield 0
        return
    arguments = coordinates(environment)
    with _LastWords() as last_words:
        last_words.are(
            f"error: process {arguments.get('process_id', 'of this run')} did not find the others at "
            f"{arguments.get('coordinator_address', 'the coordinator')} within {timeouts.connect} s; "
            "start all of them, with the same JAX_COORDINATOR_ADDRESS and a free port, or one alone with "
            "--distributed=off"
        )
        try:
            with _waiting_said(timeouts.connect):
                jax.distributed.initialize(
                    **arguments,
                    initialization_timeout=timeouts.connect,
                    heartbeat_timeout_seconds=timeouts.heartbeat,
                    shutdown_timeout_seconds=_SHUTDOWN_TIMEOUT,
                )
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"cannot join other processes ({error}); "
                "set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or --distributed=off"
            ) from error
        name = f"process {jax.process_index()} of {jax.process_count()}"
        again = "run the same command on all of them again to go on from the last save"
        last_words.are(f"error: {name} ended early: it was killed, or lost another one; {again}")
        try:
            yield jax.process_index()
        except SystemExit:
            pass_on: SystemExit | None = sys.exception()  # type: ignore[assignment]
        except SmartTrimError as error:
            _leave(last_words, f"error: {error}")
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).splitlines()[0]
            if reason.startswith(_OWN_FAULTS):
                _leave(last_words, f"error: {name} cannot go on ({reason})")
            lost = f"error: {name} cannot go on, most likely because another is lost ({reason}); {again}"
            _leave(last_words, lost, LOST_PROCESS)
        except BaseException:
            _leave(last_words, traceback.format_exc())
        else:
            pass_on = None
        jax.distributed.shutdown()
        if pass_on is not None:
            raise pass_on


def is_one_of_many(environment: Mapping[str, str]) -> bool:
    """Tells whether an environment describes several processes: by jax's variables, Slurm's, or those of a TPU pod.

    Args:
        environment: Environment variables.

    Returns:
        Whether this process has others beside it.
    """
    if environment.get("JAX_COORDINATOR_ADDRESS"):
        return True
    if all(name in environment for name in _SLURM):
        return int(environment["SLURM_NTASKS"]) > 1
    return _is_tpu_pod(environment)


def coordinates(environment: Mapping[str, str]) -> dict[str, Any]:
    """Collects the arguments that `jax.distributed.initialize` does not find by itself.

    jax reads the coordinator's address from the environment, but neither the number of processes nor the index of
    this one.

    Args:
        environment: Environment variables.

    Returns:
        Keyword arguments; empty if jax finds all of them.

    Raises:
        ConfigError: A variable is missing, no number, or out of range; or Slurm's variables tell of processes that
            were not started.
    """
    address = environment.get("JAX_COORDINATOR_ADDRESS")
    if not address:
        _check_slurm_step(environment)
        return {}
    if not address.rpartition(":")[2].isdigit():
        raise ConfigError(f"JAX_COORDINATOR_ADDRESS is '{address}'; it must be of the form host:port")
    names = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}
    given = {key: environment[name] for key, name in names.items() if environment.get(name)}
    if not given:
        return {"coordinator_address": address}
    for key, name in names.items():
        if not given.get(key, "").isdigit():
            raise ConfigError(
                f"{name} is '{given.get(key, '')}'; with JAX_COORDINATOR_ADDRESS every process needs a number there"
            )
    count, own = (int(given[key]) for key in names)
    if own >= count:
        raise ConfigError(f"JAX_PROCESS_ID is {own}; with JAX_NUM_PROCESSES={count} it must lie in 0..{count - 1}")
    return {"coordinator_address": address, "num_processes": count, "process_id": own}


def first_alone(action: Callable[[], T]) -> T:
    """Runs an action in process 0 first and then in all others, which find its results on the disk.

    Args:
        action: Function without arguments.

    Returns:
        The action's result in this process.
    """
    if jax.process_count() == 1:
        return action()
    if jax.process_index() == 0:
        result = action()
    multihost_utils.sync_global_devices("process 0 is done")
    if jax.process_index() != 0:
        result = action()
    multihost_utils.sync_global_devices("all are done")
    return result


def same_everywhere(fingerprint: int) -> bool:
    """Tells whether all processes have the same number; all must call it.

    Args:
        fingerprint: A number below 2**32.

    Returns:
        Whether it is equal in all processes.
    """
    if jax.process_count() == 1:
        return True
    numbers = multihost_utils.process_allgather(np.uint32(fingerprint))
    return bool((numbers == numbers[0]).all())


def _check_slurm_step(environment: Mapping[str, str]) -> None:
    """Checks that all tasks that Slurm's variables tell of were started.

    A shell that `salloc` or `srun` opens in a step of its own keeps the number of tasks of its allocation.

    Raises:
        ConfigError: They were not started, so this process would wait for them in vain.
    """
    if not all(name in environment for name in _SLURM):
        return
    tasks = environment["SLURM_NTASKS"]
    started = environment.get("SLURM_STEP_NUM_TASKS") or tasks
    if environment.get("SLURM_STEP_ID") == _INTERACTIVE_STEP:
        started = "1"
    if started != tasks:
        raise ConfigError(
            f"Slurm's variables speak of {tasks} tasks, but this step has {started}: the others would never come; "
            "start all of them with srun, or this process alone with --distributed=off"
        )


@contextlib.contextmanager
def _waiting_said(timeout: int) -> Iterator[None]:
    """Prints after some seconds that this process still waits for the others."""
    sentence = (
        f"waiting for the other processes of this run, at most {timeout} s; a process that shall run alone needs "
        "--distributed=off"
    )
    timer = threading.Timer(_WAITING_IS_SAID_AFTER, lambda: print(sentence, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def on_all(flag: bool) -> bool:
    """Tells whether a flag is set in all processes; all must call it.

    Args:
        flag: This process's flag.

    Returns:
        Whether all are set.
    """
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.bool_(flag)).all())


def by_first(action: Callable[[], object]) -> None:
    """Runs an action in process 0 on behalf of all; if it fails, all processes raise its error.

    Args:
        action: Function without arguments; its result is discarded.

    Raises:
        SmartTrimError: The error that the action raised; in the other processes, a TrainingError with the same
            sentence.
    """
    if jax.process_count() == 1:
        action()
        return
    refusal: SmartTrimError | None = None
    if jax.process_index() == 0:
        try:
            action()
        except SmartTrimError as error:
            refusal = error
    words = str(refusal or "").encode()[:_LONGEST_SENTENCE]
    sentence = np.frombuffer(words.ljust(_LONGEST_SENTENCE, b"\0"), np.uint8)
    said = np.asarray(multihost_utils.broadcast_one_to_all(sentence)).tobytes().rstrip(b"\0")
    if said:
        raise refusal or TrainingError(said.decode(errors="ignore"))


def _is_tpu_pod(environment: Mapping[str, str]) -> bool:
    """Whether this machine is a Cloud TPU host beside others."""
    if importlib.util.find_spec("libtpu") is None or not any(map(os.path.exists, ("/dev/accel0", "/dev/vfio/0"))):
        return False
    if int(environment.get("MEGASCALE_NUM_SLICES") or 1) > 1:
        return True
    for name in _TPU_HOSTS:
        if environment.get(name):
            return "," in environment[name]
    if "TPU_SKIP_MDS_QUERY" in environment:
        return False
    server = environment.get("GCE_METADATA_IP", "metadata.google.internal")
    path = "computeMetadata/v1/instance/attributes/worker-network-endpoints"
    request = urllib.request.Request(f"http://{server}/{path}", headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return b"," in answer.read()
    except OSError:
        return False


class _LastWords:
    """A shell beside this process that prints a sentence on standard error unless the process withdraws it in time.

    If other processes are lost, the runtime aborts this one from a thread of its own, and no handler in Python runs.
    """

    def __enter__(self) -> "_LastWords":
        self._shell = subprocess.Popen(
            ["sh", "-c", _SAY_LAST],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # else Ctrl-C would end it
        )
        return self

    def are(self, sentence: str) -> None:
        """Sets the sentence; an empty one is not printed.

        Args:
            sentence: The sentence; line breaks in it become spaces.
        """
        assert self._shell.stdin is not None
        self._shell.stdin.write(" ".join(sentence.split()) + "\n")
        self._shell.stdin.flush()

    def __exit__(self, *_: object) -> None:
        self.are("")
        self._shell.communicate()


def _leave(last_words: _LastWords, message: str, status: int = 1) -> NoReturn:
    """Ends this process with a message, without waiting for the others as an ordinary exit would."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    last_words.are("")
    if jax.process_index() == 0:
        time.sleep(_COORDINATOR_STAYS)
    os._exit(status)
