"""What a run would need on a TPU slice, as text."""

from collections.abc import Iterable

from smarttrim_jax.ahead_of_time.inference_work import WorkRow
from smarttrim_jax.ahead_of_time.report import UTILISATION, SliceReport
from smarttrim_jax.ahead_of_time.topology import GIB

MB, TERA = 1e6, 1e12


def format_slice(report: SliceReport) -> str:
    """Formats a report with one fact per line, and one line for each kind of collective.

    Args:
        report: Report of a slice.

    Returns:
        Several lines of text.
    """
    where, step, program, growth = report.where, report.step, report.step.program, report.growth
    chip, answer = where.chip, report.answer
    lines = [
        f"{where.name}: {len(where.devices)} x {where.devices[0].device_kind}"
        + (f", {chip.memory / GIB:.0f} GiB each" if chip else ""),
        f"parameters {step.parameters / 1e6:.1f} M, batch {step.batch_size}, compiled in {program.seconds:.0f} s",
        f"each device holds {program.peak_bytes / GIB:.2f} GiB, {step.state_bytes / GIB:.2f} of it from step to step",
        f"and computes {step.model_flops / TERA:.2f} TFLOPs of the model a step",
        f"and sends {program.bytes_sent / MB:.1f} MB a step:",
        *(f"  {kind.kind:20}{kind.count:6d} {kind.bytes / MB:10.1f} MB" for kind in program.collectives),
    ]
    if report.efficiency is not None:
        lines.append(
            f"at {UTILISATION:.0%} of the chip's peak at least {report.efficiency:.0%} of a step would be work"
        )
    if growth is not None:
        lines.append(f"more examples send more: {max(growth.bytes_sent_per_example, 0.0) / MB:.4f} MB each")
        if growth.largest_batch is not None:
            lines.append(f"the largest batch that fits: about {growth.largest_batch}")
    if answer is not None:
        lines.append(
            f"inference on one device, batch {answer.batch_size}: {answer.program.peak_bytes / GIB:.2f} GiB, "
            f"compiled in {answer.program.seconds:.0f} s"
        )
    return "\n".join(lines)


def format_work(rows: Iterable[WorkRow]) -> str:
    """Formats the work of inference with one line for each program and branch.

    Args:
        rows: Rows of `inference_work`.

    Returns:
        Several lines of text.
    """
    lines = ["batch  program     holds     GFLOPs  of full         MB  of full"]
    for row in rows:
        holds = "all" if row.branch is None else f"{row.branch:.2f}"
        lines.append(
            f"{row.batch_size:5d}  {row.program:10}{holds:>7}{row.flops / 1e9:11.1f}{row.flops_over_full:9.2f}"
            f"{row.bytes / MB:11.1f}{row.bytes_over_full:9.2f}"
        )
    return "\n".join(lines)
