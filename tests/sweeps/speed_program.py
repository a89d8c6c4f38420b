"""Stands for the benchmark: notes that it ran, and says that packed execution is as many times faster as examples."""

import json
import pathlib
import sys

flags = dict(argument.removeprefix("--").split("=", maxsplit=1) for argument in sys.argv[1:])
with (pathlib.Path(flags["workdir"]).parent / "started").open("a") as file:
    file.write("timed\n")
row = {"execution": "packed", "speedup": float(flags["batch_sizes"])}
pathlib.Path(flags["output"]).write_text(json.dumps({"results": [row]}))
