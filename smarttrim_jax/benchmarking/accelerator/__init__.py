"""Measurements on one accelerator within a time budget of minutes; `benchmarks/accelerator.sh` runs the plan.

The programs of a stage are compiled in parallel; then everything is timed alone (see `stages`).
"""
