"""The command `python -m smarttrim_jax.sweep`, beside the other launch scripts: --help shows its page."""

from smarttrim_jax.sweep import run

if __name__ == "__main__":
    run()
