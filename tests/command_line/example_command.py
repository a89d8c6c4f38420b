"""A command for tests: ends in the way that it is told.

python example_command.py --end=well
"""

import pathlib
import time

import jax.numpy as jnp

from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.errors import DataError
from smarttrim_jax.ranges import PositiveInt

END = define("end", str, "well", "How it ends.")
COUNT = define("count", PositiveInt, 1, "Lines that it prints.")
LOUD = define("loud", bool, False, "Not used.")


def main() -> None:
    print("begun", flush=True)
    for _ in range(COUNT.value):
        print("Größe ██", flush=True)
    if END.value == "input":
        raise DataError("a file is missing")
    if END.value == "memory":
        raise MemoryError
    if END.value == "device":
        jnp.ones((10**7, 10**7)).block_until_ready()
    if END.value == "system":
        pathlib.Path("n" * 300).read_text()
    if END.value == "bug":
        {}["a"]
    if END.value == "pipe":
        raise BrokenPipeError(32, "Broken pipe")
    if END.value == "wait":
        time.sleep(60)


if __name__ == "__main__":
    run_command(main, required=())
