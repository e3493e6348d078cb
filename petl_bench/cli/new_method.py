"""`petl-bench new-method NAME`: a plugin file to start from, which passes `petl-bench check` as it is."""

from __future__ import annotations

import keyword
from pathlib import Path

import click

from petl_bench.api.registry import METHODS
from petl_bench.errors import StoreError, UsageError

TEMPLATE = '''"""{title}: one line on what it does."""

import petl_bench as pb


@pb.register_method("{name}")
class {class_name}(pb.Method):
    """A bottleneck in parallel with the attention branch of every block.

    x' = x + Attention(LN(x)) + s * Up(Dropout(ReLU(Down(LN(x)))))     x, x': [B, N, width]

    Up starts at zero, so that the adapted model equals the frozen one before training.
    """

    paper = pb.Paper(
        title="{title}",
        venue="unpublished",
        url="https://example.org/{name}",
        bibtex="@misc{{{name}, title = {{{title}}}, year = {{2025}}}}",
        licence="MIT",
    )

    # Hyper-parameters: type, default, meaning, limits. Set them with --set {name}.FIELD=VALUE.
    bottleneck_dim: int = pb.hyper(32, "channels of the bottleneck", minimum=1)
    scale: float = pb.hyper(1.0, "s in the equation")
    dropout: float = pb.hyper(0.1, "dropout between the activation and Up", minimum=0.0, maximum=0.9)
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def attach(self, model):
        """Put modules at the model's sites; everything else is frozen already.

        A block, its `attention` and its `feedforward` offer add_parallel, add_before and add_after; linears inside them
        (attention.q, k, v, out, feedforward.fc, proj) offer replace. Video tokens are [B, N, width]; a module that
        needs time asks for `with_grid=True` and is called as module(x, grid).
        """
        for block in model.blocks(self.towers):
            adapter = pb.Bottleneck(block.width, self.bottleneck_dim, dropout=self.dropout)
            block.attention.add_parallel(adapter, scale=self.scale, normed=True)

    def expected_trainable(self, config):
        """Per block: Down width*d + d, Up d*width + width. The checks compare it with the count in the model."""
        return sum((2 * width + 1) * self.bottleneck_dim + width for width in config.block_widths(self.towers))

    # An extra loss term: def loss(self, step) -> Tensor | None; see pb.Step for what it may look at.
'''


@click.command(name="new-method")
@click.argument("name")
def command(name: str) -> None:
    """Write NAME.py into this folder: a working method to change into your own."""
    path = Path(f"{name}.py")
    _refuse(name, path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(render(name))
    except FileExistsError:
        raise UsageError(f"{path} exists and is kept; choose another name, or move it away") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be written into this folder: {error.strerror}") from error
    click.echo(f"wrote {path}")
    click.echo(f"Next:  petl-bench check {path}", err=True)
    click.echo(f"       petl-bench run --plugin {path} --methods {name},adaptformer --setting base2novel", err=True)


def render(name: str) -> str:
    """The text of the plugin file for a method of that name."""
    words = [word for word in name.split("_") if word]
    class_name = "".join(word[0].upper() + word[1:] for word in words)
    return TEMPLATE.format(name=name, title=" ".join(words).capitalize(), class_name=class_name)


def _refuse(name: str, path: Path) -> None:
    usable = name.isascii() and name.isidentifier() and name[0].isalpha() and name == name.lower()
    if not usable or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} cannot name a method: use lower-case letters, digits and underscores, e.g. my_adapter"
        )
    if name in METHODS.names():
        raise UsageError(f"the method name {name!r} is taken ({METHODS.source(name)}); choose another one")
