"""Stands for a training process: `python -m local_worker BEHAVIOUR FOLDER`."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

behaviour, folder = sys.argv[1], pathlib.Path(sys.argv[2])
process = os.environ["JAX_PROCESS_ID"]


def save(number: int, frame: object) -> None:
    """What SIGTERM leads to."""
    (folder / f"saved-{process}").touch()
    sys.exit(128 + number)


signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "deaf" else save)
if behaviour == "deaf":
    subprocess.Popen(["sleep", "60"])  # as data workers do, it keeps standard output open
(folder / f"ready-{process}").touch()
if behaviour == "tell":
    names = [name for name in os.environ if name.startswith(("JAX_", "CUDA_"))]
    print(json.dumps({"arguments": sys.argv[3:], **{name: os.environ[name] for name in names}}))
    sys.exit()
if behaviour != "wait" and process == "1":
    while not (folder / "ready-0").exists():
        time.sleep(0.01)
    print("the last words of process 1")
    sys.exit(7)
time.sleep(60)
