"""Shows what a finished run keeps of each example: a picture each, and one page for the whole set.

    python -m smarttrim_jax.explain --workdir=runs/quick --output=explained [--split=test] [--limit=500] [--speedup=2]

Writes `explained/index.html` (self-contained, sortable by cost and by error) and `explained/examples/*.png`.
"""

import itertools
import pathlib

from absl import flags

from smarttrim_jax.command_line import run_command
from smarttrim_jax.errors import DataError
from smarttrim_jax.inference.explanation import explain
from smarttrim_jax.reporting.page import build_page
from smarttrim_jax.reporting.picture import draw
from smarttrim_jax.training.finished import open_run

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
SPLIT = flags.DEFINE_string("split", None, "Split of its data set; the configured one by default.")
LIMIT = flags.DEFINE_integer("limit", None, "Only the first examples of the split; all by default.", lower_bound=1)
PICTURES = flags.DEFINE_integer("pictures", 24, "Examples that get a picture of their own.", lower_bound=0)
SPEEDUP = flags.DEFINE_float("speedup", None, "Speed-up in MACs; the one it was trained for by default.")


def main() -> None:
    """Runs the command."""
    run, folder = open_run(str(WORKDIR.value)), pathlib.Path(str(OUTPUT.value))
    split = SPLIT.value or run.config.evaluation.split
    examples = list(explain(run, split, limit=LIMIT.value, speedup=SPEEDUP.value))
    asked = run.config.cost.target_speedup if SPEEDUP.value is None else SPEEDUP.value
    title = f"{run.config.data.dataset}, {split} split, asked for {asked:g}x fewer MACs"
    try:
        (folder / "examples").mkdir(parents=True, exist_ok=True)
        for example in itertools.islice(examples, PICTURES.value):
            draw(example).save(folder / "examples" / f"{example.index:06d}.png")
        (folder / "index.html").write_text(build_page(examples, title), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write to '{folder}': {error.strerror}; choose another --output") from None
    print(f"wrote {folder / 'index.html'} ({len(examples)} examples)")


if __name__ == "__main__":
    run_command(main, required=("workdir", "output"))
