"""Stands for the training command: notes its flags, and reports, fails or waits as its flags say."""

import json
import os
import pathlib
import signal
import sys
import time

flags = dict(argument.removeprefix("--").split("=", maxsplit=1) for argument in sys.argv[1:])
folder = pathlib.Path(flags["workdir"])
folder.mkdir(parents=True, exist_ok=True)
with (folder.parent / "started").open("a") as file:
    file.write(f"{folder.name}\n")
if flags.get("behaviour") == "stopped":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.kill(os.getppid(), signal.SIGTERM)
    signal.pause()
if flags.get("behaviour") == "meet":
    print("devices", os.environ.get("CUDA_VISIBLE_DEVICES"))
    while len((folder.parent / "started").read_text().split()) < 2:  # another is there at the same time
        time.sleep(0.01)
if flags["config.cost.target_speedup"] == flags.get("failing"):
    sys.exit(3)
asked = float(flags["config.cost.target_speedup"])
report = {
    "primary": "accuracy",
    "metrics": {"full": {"accuracy": 0.9}, "trimmed": {"accuracy": 0.8}},
    "speedup": {"asked": asked, "macs": asked + 0.01},
}
(folder / "report.json").write_text(json.dumps(report))
