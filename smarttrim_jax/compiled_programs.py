"""Compiled programs that outlive the process, so that a second start compiles nothing twice."""

import hashlib
import os
import pathlib
import platform

import jax

LEAST_SECONDS = 0.2
"""Programs that compile faster are not kept."""


def keep_compiled_programs() -> pathlib.Path | None:
    """Keeps compiled programs in a folder of the user's, unless `JAX_COMPILATION_CACHE_DIR` names another.

    The folder, below `~/.cache/smarttrim_jax` (or `$XDG_CACHE_HOME`), has a name of its own for each kind of CPU:
    programs may hold instructions that another CPU lacks, and homes are often shared.

    Returns:
        The folder; None where JAX has been told another one, or none can be written.
    """
    settings = jax.config.values  # As attributes they have types in the latest JAX only.
    if settings["jax_compilation_cache_dir"] is not None or not settings["jax_enable_compilation_cache"]:
        return None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(home, "smarttrim_jax", "compiled", _machine())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return folder


def _machine() -> str:
    """A short name for the kind of CPU, with all of its instructions."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    kinds = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    described = "\n".join([platform.machine(), platform.processor(), *sorted(kinds)])
    return hashlib.sha256(described.encode()).hexdigest()[:12]
