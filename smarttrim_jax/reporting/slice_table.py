"""What a run would take on a TPU slice, as text."""

from smarttrim_jax.training.slice_report import SliceReport

GIB = 2**30


def format_slice(report: SliceReport) -> str:
    """One fact a line, and one line for each kind of collective."""
    step = report.step
    lines = [
        f"{report.topology}: {report.devices} x {report.device}, {report.memory / GIB:.0f} GiB each",
        f"parameters        {step.parameters / 1e6:10.1f} M",
        f"batch             {step.batch_size:10d}   largest that fits, about {report.largest_batch}",
        f"memory of a device{step.peak_bytes / GIB:10.2f} GiB, of which the state {step.state_bytes / GIB:.2f}",
        f"FLOPs of a device {step.flops / 1e12:10.2f} T, loops' bodies once",
        f"sent by a device  {report.bytes_sent / 1e6:10.1f} MB a step",
        f"  of activations  {report.bytes_of_examples / 1e6:10.1f} MB",
    ]
    lines += [f"  {kind.kind:20}{kind.count:6d} {kind.bytes / 1e6:10.1f} MB" for kind in step.collectives]
    return "\n".join(lines)
