"""The launch scripts, run with stand-ins for what they call."""

import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
BENCHMARKS = ROOT / "benchmarks"

STAND_IN = r"""#!/usr/bin/env bash
# Records its name and arguments, fails where it is told to, and answers as the real one would.
{ printf '%s\037' "$(basename "$0")" "$@"; printf '\036'; } >>"$RECORD/calls"
if [[ -s $RECORD/failures ]]; then
  read -r status pattern <"$RECORD/failures"
  if [[ "$*" == *$pattern* ]]; then
    sed -i 1d "$RECORD/failures"
    exit "$status"
  fi
fi

here() { # where what the real one would read or write lies
  case $1 in
    gs://*) echo "$RECORD/bucket/${1#gs://}" ;;
    *:smarttrim*) echo "$RECORD/home/${1#*:}" ;;
    *) echo "$1" ;;
  esac
}

next() { # line of a file, the last of which stays
  head -n 1 "$RECORD/$1"
  sed -i '1{$!d}' "$RECORD/$1"
}

case "$(basename "$0") $*" in
  'xpk version') echo "xpk_version: ${XPK_VERSION:-1.16.0}" ;;
  gcloud*' queued-resources describe '*failedData*) [[ ! -f $RECORD/reasons ]] || next reasons ;;
  gcloud*' queued-resources describe '*)
    state=$(next states)
    [[ $state != ABSENT ]] || { echo 'ERROR: NOT_FOUND: no such resource' >&2; exit 1; }
    echo "$state"
    ;;
  gcloud*' queued-resources scp '*) [[ ! -d $RECORD/home ]] || cp -r "$(here "$5")" "$(here "$6")" ;;
  'gcloud storage cat '*)
    for file in "${@:3}"; do
      cat "$(here "$file")" 2>/dev/null || { echo 'ERROR: The following URLs matched no objects' >&2; exit 1; }
    done
    ;;
  'gcloud storage cp '*)
    [[ ${!#} != gs://* ]] || mkdir -p "$(here "${!#}")"
    for ((i = 3; i < $#; i++)); do
      [[ ! -d $RECORD/home ]] || cp $(here "${!i}") "$(here "${!#}")" # unquoted: its * are the shell's
    done
    exit 0
    ;;
esac
for argument; do
  if [[ $argument == --command=* && -d $RECORD/home ]]; then
    cd "$RECORD/home" && bash -c "(${argument#--command=}) & wait \$!"
  fi
done
"""


class Outcome(NamedTuple):
    """What came of a script: exit status, output, errors, and the calls of the stand-ins, word by word."""

    status: int
    stdout: str
    stderr: str
    calls: list[list[str]]


class Machine:
    """A folder with stand-ins for programs, and what they shall answer.

    Args:
        folder: an empty one.
        names: of the programs.
    """

    def __init__(self, folder: pathlib.Path, *names: str) -> None:
        self.folder = folder
        self.environment = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "RECORD": str(folder),
            "TMPDIR": "/tmp",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(pathlib.Path(__file__).parent),
            "SMARTTRIM_POLL": "0",
        }
        for name in names:
            self.install(folder / "bin" / name)

    def install(self, file: pathlib.Path) -> None:
        """Puts a stand-in at `file`."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(STAND_IN)
        file.chmod(0o755)

    def answer(self, *states: str) -> None:
        """The states that the queued resource is in, one after another; the last one stays."""
        (self.folder / "states").write_text("\n".join(states) + "\n")

    def explain(self, *reasons: str) -> None:
        """Why the queued resource failed, time after time; the last one stays."""
        (self.folder / "reasons").write_text("\n".join(reasons) + "\n")

    def fail(self, *failures: str) -> None:
        """Of lines "STATUS PATTERN": the next call with the pattern in its arguments ends so; then the next line."""
        (self.folder / "failures").write_text("\n".join(failures) + "\n")

    def start(self, script: str | pathlib.Path, *arguments: str) -> subprocess.Popen[str]:
        """Starts a script, with Ctrl-C as a terminal would leave it."""
        # A shell cannot trap what was ignored when it started.
        command = ["env", "--default-signal=INT", "bash", str(LAUNCH / script), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, cwd=self.folder, text=True, stdout=pipe, stderr=pipe)

    def run(self, script: str | pathlib.Path, *arguments: str) -> Outcome:
        """Runs a script to its end."""
        return self.outcome(self.start(script, *arguments))

    def outcome(self, process: subprocess.Popen[str]) -> Outcome:
        """Waits for a script that was started."""
        try:
            stdout, stderr = process.communicate(timeout=300)  # on a busy machine
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return Outcome(process.returncode, stdout, stderr, self.calls())

    def calls(self) -> list[list[str]]:
        """What the stand-ins were called with so far: name and arguments."""
        file = self.folder / "calls"
        text = file.read_text() if file.exists() else ""
        return [call.split("\x1f")[:-1] for call in text.split("\x1e")[:-1]]
