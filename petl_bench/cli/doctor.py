"""`petl-bench doctor`: is this machine fit, and what is missing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from petl_bench.api.registry import BACKBONES, KINDS, LAUNCHERS
from petl_bench.errors import DataError, PetlBenchError
from petl_bench.system.environment import describe_machine


@click.command(name="doctor")
def command() -> None:
    """Check versions, devices, decoders, plugins and weights; exit status 1 if the main job could not run."""
    machine = describe_machine()
    click.echo(f"petl-bench {machine['petl_bench']}, Python {machine['python']}, {machine['platform']}")
    click.echo(f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB")
    for library, version in machine["libraries"].items():
        click.echo(f"  {library} {version}")
    checks = {"torch": _torch, "decoders": _decoders, "plugins": _plugins, "weights": _weights, "launchers": _launchers}
    failed = [name for name, check in checks.items() if not _report(name, check)]
    if failed:
        click.echo(f"not fit: {', '.join(failed)}", err=True)
        raise SystemExit(1)
    click.echo("fit: petl-bench run --methods msta,lora --setting base2novel")


def _report(name: str, check: Callable[[], str]) -> bool:
    try:
        click.echo(f"ok    {name}: {check()}")
    except (PetlBenchError, ImportError, OSError, RuntimeError) as error:
        click.echo(f"FAIL  {name}: {error}")
        return False
    return True


def _torch() -> str:
    import torch
    import torchvision  # noqa: F401 - a torchvision that does not match torch breaks right here

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(devices) if devices else "CPU only"


def _decoders() -> str:
    """Each decoder reads a tiny file that PyAV encodes here; one that works is enough."""
    from petl_bench.data.decoding.clips import DECODERS, read_clip

    works, reasons = [], []
    with tempfile.TemporaryDirectory() as folder:
        clip = _encode_sample(Path(folder) / "sample.mp4")
        for decoder in DECODERS:
            try:
                read_clip(clip, lambda count: [0, count - 1], decoder=decoder)
                works.append(decoder)
            except DataError as error:
                reasons.append(f"{decoder}: {error}")
    if not works:
        raise DataError("; ".join(reasons))
    return ", ".join(works)


def _encode_sample(path: Path) -> Path:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(0, 256, 32):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _plugins() -> str:
    reasons = [reason for registry in KINDS.values() for reason in registry.broken().values()]
    if reasons:
        raise PetlBenchError("; ".join(reasons))
    return ", ".join(f"{len(registry.names())} {kind}" for kind, registry in KINDS.items())


def _weights() -> str:
    packaged = [name for name in BACKBONES.names() if BACKBONES.get(name).packaged_weights()]
    others = [name for name in BACKBONES.names() if name not in packaged]
    return f"packaged: {', '.join(packaged) or 'none'}; give a file with --weights for {', '.join(others)}"


def _launchers() -> str:
    names = LAUNCHERS.names()
    return "; ".join(f"{name}: {LAUNCHERS.get(name)().fitness()}" for name in names)
