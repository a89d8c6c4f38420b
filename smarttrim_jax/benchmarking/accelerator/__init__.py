"""Figures from one accelerator within a budget of minutes: `benchmarks/accelerator.sh` runs the plan.

Programs of a stage are compiled side by side, then everything is timed alone; see `stages`.
"""
