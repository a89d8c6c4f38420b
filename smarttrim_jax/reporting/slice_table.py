"""What a run would take on a TPU slice, as text."""

from smarttrim_jax.training.slice_report import SliceReport

GIB, MB = 2**30, 1e6


def format_slice(report: SliceReport) -> str:
    """One fact a line, and one line for each kind of collective."""
    step, growth = report.step, report.growth
    lines = [
        f"{report.topology}: {report.devices} x {report.device}, {report.memory / GIB:.0f} GiB each",
        f"parameters {step.parameters / 1e6:.1f} M, batch {step.batch_size}, compiled in {step.seconds:.0f} s",
        f"each device holds {step.peak_bytes / GIB:.2f} GiB, {step.state_bytes / GIB:.2f} of it from step to step",
        f"and computes {step.flops / 1e12:.2f} TFLOPs a step, loops counted once",
        f"and sends {report.bytes_sent / MB:.1f} MB a step:",
        *(f"  {kind.kind:20}{kind.count:6d} {kind.bytes / MB:10.1f} MB" for kind in step.collectives),
    ]
    if growth is not None:
        lines += [
            f"of that for each example {growth.bytes_sent_per_example / MB:.3f} MB",
            f"the largest batch that fits: about {growth.largest_batch}",
        ]
    return "\n".join(lines)
