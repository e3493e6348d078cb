"""Draws the sites of a model and the life of a trial, for docs/method_sites.md: plain SVG on a white ground.

    make pictures          (python docs/pictures/draw_sites.py [FOLDER])

Each name of code in a picture is a path from `model`, `block`, `grid` or `method`; tests/docs/test_pictures.py
looks them all up, and compares the files with what is drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent
SANS, MONO = "DejaVu Sans, Verdana, sans-serif", "DejaVu Sans Mono, Menlo, Consolas, monospace"
INK, QUIET, LINE = "#1b2733", "#51606f", "#5b6b7f"
#: Fill and edge of a box: parts of the backbone or the engine; data; what a method calls; what a method defines.
COLOURS = {
    "part": ("#e9eef4", "#5b6b7f"),
    "data": ("#ffffff", "#5b6b7f"),
    "call": ("#dbeafe", "#1d4ed8"),
    "hook": ("#ffedd5", "#c2410c"),
    "frame": ("none", "#9aa7b5"),
}
Kind = Literal["part", "data", "call", "hook", "frame"]


@dataclass
class Picture:
    """An SVG under way; lengths in pixels, y downwards."""

    width: int
    title: str
    height: int = 0  #: known once its last part is drawn
    parts: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  #: the names of code in it
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)  #: x, y, width, height

    def __post_init__(self) -> None:
        self.text(20, 33, self.title, size=15, bold=True)

    def box(self, x: float, y: float, width: float, height: float, text: str, kind: Kind = "part") -> None:
        """A box with its text in the middle."""
        self.rectangle(x, y, width, height, kind)
        self.text(x + width / 2, y + height / 2 + 4.5, text, anchor="middle")

    def code(self, x: float, y: float, name: str, note: str = "", kind: Kind = "call") -> float:
        """A box with a name of code, and a note to the right of it; y is its middle. Returns its width."""
        width = 7.3 * len(name) + 16
        self.rectangle(x, y - 12, width, 24, kind)
        self.parts.append(_text(x + 8, y + 4.5, name, 12, INK, MONO))
        self.names.append(name)
        if note:
            self.text(x + width + 8, y + 4.5, note, size=11.5, colour=QUIET)
        return width

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 12.5,
        colour: str = INK,
        anchor: Literal["start", "middle"] = "start",
        bold: bool = False,
    ) -> None:
        """One line of text on the base line y."""
        self.parts.append(_text(x, y, text, size, colour, SANS, anchor, bold))

    def upright(self, x: float, y: float, text: str) -> None:
        """A line of text that is read from below, around y."""
        line = _text(0, 0, text, 11.5, QUIET, SANS, "middle")
        self.parts.append(f'<g transform="translate({x:g} {y:g}) rotate(-90)">{line}</g>')

    def arrow(self, *points: tuple[float, float], dashed: bool = False, head: bool = True) -> None:
        """A line through these points, with an arrow head at the last."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        style = ' stroke-dasharray="5 4"' if dashed else ""
        end = ' marker-end="url(#head)"' if head else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.5"{style}{end}/>')

    def square(self, x: float, y: float, size: float, text: str, fill: str) -> None:
        """A token."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" rx="3" fill="{fill}" stroke="{LINE}"/>'
        )
        self.text(x + size / 2, y + size / 2 + 4, text, size=10.5, anchor="middle")

    def svg(self) -> str:
        """The whole file."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f'<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
                f'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="{LINE}"/></marker></defs>',
                f'<rect x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="8" fill="#ffffff" '
                'stroke="#c5ced8"/>',
                *self.parts,
                "</svg>",
                "",
            ]
        )

    def rectangle(self, x: float, y: float, width: float, height: float, kind: Kind) -> None:
        """A box without text."""
        fill, edge = COLOURS[kind]
        dashed = ' stroke-dasharray="6 4"' if kind == "frame" else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" fill="{fill}" stroke="{edge}" '
            f'stroke-width="1.3"{dashed}/>'
        )
        if kind != "frame":
            self.boxes.append((x, y, width, height))


def _text(
    x: float, y: float, text: str, size: float, colour: str, font: str, anchor: str = "start", bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-family="{font}" font-size="{size:g}" fill="{colour}" '
        f'text-anchor="{anchor}"{weight}>{escape(text)}</text>'
    )


def legend(picture: Picture, x: float, *entries: tuple[Kind, str]) -> None:
    """What the colours of boxes mean, beside the title."""
    for kind, text in entries:
        picture.rectangle(x, 21, 18, 14, kind)
        picture.text(x + 24, 32.5, text, size=11.5, colour=QUIET)
        x += 46 + 6.6 * len(text)


@dataclass(frozen=True)
class Part:
    """A box of a flow."""

    text: str
    kind: Kind = "part"


@dataclass(frozen=True)
class Place:
    """A name of code on the way from one box of a flow to the next."""

    name: str
    note: str = ""
    kind: Kind = "call"


def flow(picture: Picture, x: float, y: float, items: Sequence[Part | Place], width: float = 190) -> dict[str, float]:
    """Boxes from the top down, and the names between them at the right of the arrows.

    Returns the top of each box by its text, the middle of each name, and the lower end as "".
    """
    middle, start, heights = x + width / 2, y, {}
    for item, after in zip(items, [*items[1:], None], strict=True):
        if isinstance(item, Part):
            picture.box(x, y, width, 30, item.text, item.kind)
            heights[item.text] = y
            start = y = y + 30
            y += 16 if isinstance(after, Part) else 0
        else:
            y += 18
            picture.arrow((middle, y), (x + width + 14, y), head=False)
            picture.code(x + width + 14, y, item.name, item.note, item.kind)
            heights[item.name] = y
            y += 12 if isinstance(after, Place) else 22
        if isinstance(after, Part):
            picture.arrow((middle, start), (middle, y))
    picture.height = round(y) + 22
    return {**heights, "": y}


# Sites

TOWER = 660


def video_tower() -> Picture:
    """The video tower from the top down, with the sites outside of its blocks."""
    picture = Picture(TOWER, "Sites of the video tower")
    legend(picture, 470, ("part", "backbone"), ("call", "site"))
    flow(
        picture,
        20,
        52,
        [
            Part("frames [B, T, 3, H, W]", "data"),
            Place("model.video.pixels.then"),
            Part("patch embedding"),
            Place("model.video.patches.then", "before positions are added"),
            Part("+ class token, positions"),
            Place("model.video.embedding.add_after", "the stream: as at a block"),
            Place("model.video.add_tokens", "block=0: before the first norm"),
            Part("norm_pre"),
            Place("model.video.norm_pre.then"),
            Part("blocks 1 to L"),
            Place("model.blocks", "see below"),
            Place("model.video.set_side", "reads the blocks, makes the features"),
            Part("norm_post (class token)"),
            Place("model.video.norm_post.then"),
            Part("projection"),
            Part("CLIP: mean over frames"),
            Place("model.set_pool", "in its place; not with ViCLIP"),
            Place("model.features.video.then"),
            Part("video features [B, D]", "data"),
        ],
    )
    return picture


def text_tower() -> Picture:
    """The text tower from the top down, with the sites outside of its blocks, and the scores."""
    picture = Picture(TOWER, "Sites of the text tower, and the scores")
    legend(picture, 385, ("part", "backbone"), ("call", "site"), ("hook", "hook"))
    y = flow(
        picture,
        20,
        52,
        [
            Part("class names, or texts", "data"),
            Place("method.prompts", "prompts of every class", "hook"),
            Part("token embedding"),
            Place("model.text.set_prompt", "may read the video features"),
            Part("+ positions"),
            Place("model.text.embedding.add_after", "the stream: as at a block"),
            Part("blocks 1 to L (causal)"),
            Place("model.blocks", "see below"),
            Place("model.text.replace_tokens", "before a block"),
            Place("model.text.set_side", "reads the blocks, makes the features"),
            Part("norm_final (end of text)"),
            Place("model.text.norm_final.then"),
            Part("projection"),
            Place("model.features.text.then"),
            Part("text features [C, D]", "data"),
            Place("method.scores", "their cosine, unless it is defined", "hook"),
            Place("model.heads", "modules that scores computes with"),
            Part("logits [B, C]", "data"),
        ],
    )[""]
    picture.box(330, y - 30, 190, 30, "video features [B, D]", "data")
    picture.arrow((330, y - 15), (210, y - 15))
    return picture


def block() -> Picture:
    """One block from the top down, with the sites in it."""
    picture = Picture(760, "Sites of one block")
    legend(picture, 570, ("part", "backbone"), ("call", "site"))
    linear = "also first, replace"
    y = flow(
        picture,
        70,
        52,
        [
            Part("tokens", "data"),
            Place("model.video.add_tokens", "extra tokens, in the video tower"),
            Place("block.add_parallel", "add_before, add_after: the whole block"),
            Place("block.attention.add_parallel", "add_before, add_after: the branch"),
            Part("norm"),
            Place("block.attention.norm.then"),
            Part("q, k, v"),
            Place("block.attention.q.then", f"k and v likewise; {linear}"),
            Place("block.attention.mix", "changes q, k, v; adds a bias to the scores"),
            Part("softmax(q k / √d) v"),
            Part("out"),
            Place("block.attention.out.then", linear),
            Part("+ attention", "data"),
            Place("block.middle.add_after", "the stream between the branches"),
            Place("block.feedforward.add_parallel", "add_before, add_after: the branch"),
            Part("norm "),
            Place("block.feedforward.norm.then"),
            Part("fc"),
            Place("block.feedforward.fc.then", linear),
            Part("activation"),
            Part("proj"),
            Place("block.feedforward.proj.then", linear),
            Part("+ feed-forward", "data"),
            Place("block.reduce", "fewer tokens, in the video tower"),
            Part("tokens of the next block", "data"),
        ],
    )
    for branch in ("attention", "feedforward"):
        start, end = y[f"block.{branch}.add_parallel"] - 15, y[f"+ {branch.replace('df', 'd-f')}"] + 15
        picture.arrow((165, start), (40, start), (40, end), (70, end))
    return picture


def call() -> Picture:
    """What a site, a norm and a linear compute with modules attached."""
    picture = Picture(760, "What is computed at a site", 340)
    legend(picture, 500, ("part", "backbone"), ("call", "module of a method"))
    picture.text(20, 70, "A block, a branch, a stream (f(x) = x):", bold=True)
    picture.text(300, 70, "y = f(before(x)) + s parallel(x), then y + s after(y)", colour=QUIET)
    _before, _f, plus, after, plus_after = _line(picture, 140, ["block.add_before", "f", "+", "block.add_after", "+"])
    picture.arrow((75, 140), (75, 100), (95, 100))
    picture.arrow((95 + picture.code(95, 100, "block.add_parallel"), 100), (plus + 15, 100), (plus + 15, 125))
    picture.arrow((after - 20, 140), (after - 20, 178), (plus_after + 15, 178), (plus_after + 15, 155))
    picture.text(20, 222, "A linear:", bold=True)
    picture.text(
        95, 222, "y = then(linear(first(x))). A norm, pixels, patches and features have then alone.", colour=QUIET
    )
    _first, linear, _then = _line(picture, 260, ["block.attention.q.first", "W x + b", "block.attention.q.then"])
    picture.code(linear - 56, 308, "block.attention.q.replace", "in its place")
    picture.arrow((linear + 40, 296), (linear + 40, 275))
    return picture


def _line(picture: Picture, y: float, parts: Sequence[str]) -> list[float]:
    """x, the parts from left to right, y, with arrows between them; a part with a dot is a name of code. Returns the
    left end of each part."""
    x, ends = 55.0, []
    picture.text(38, y + 4.5, "x")
    for part in parts:
        picture.arrow((x, y), (x + 40, y))
        x += 40
        ends.append(x)
        if "." in part:
            x += picture.code(x, y, part)
        else:
            width = 30 if len(part) == 1 else 80
            picture.box(x, y - 15, width, 30, part)
            x += width
    picture.arrow((x, y), (x + 40, y))
    picture.text(x + 46, y + 4.5, "y")
    return ends


# Tokens

CLASS, EXTRA = "#fde68a", "#e9d5ff"
FRAMES = ("#bfdbfe", "#bbf7d0", "#fecaca")
SIZE = 30


def tokens() -> Picture:
    """The order of tokens in both kinds of backbone, with extra tokens, and what reads the grid."""
    picture = Picture(760, "The tokens of a video, and their grid", 546)
    picture.text(20, 62, "3 frames of 2 x 2 patches, 2 extra tokens at the start and 1 at the end.")
    _tokens_legend(picture, 92)
    picture.text(20, 138, "ViCLIP: one sequence per video", bold=True)
    picture.code(270, 133, "grid.joint", "is true")
    patches = [(place, frame) for place in range(4) for frame in range(3)]
    _sequence(picture, 20, 156, patches)
    picture.text(
        20,
        212,
        "Patch n of frame t is token 1 + n T + t: place by place, and within a place frame by frame.",
        11.5,
        QUIET,
    )
    picture.text(20, 258, "CLIP: one sequence per frame", bold=True)
    for frame in range(3):
        _sequence(picture, 20, 276 + frame * 40, [(place, frame) for place in range(4)])
    picture.text(340, 258, "The grid", bold=True)
    for frame in range(3):
        left = 345 + frame * 105
        picture.text(left, 290, f"frame {frame}", 11.5, QUIET)
        for place in range(4):
            x, y = left + place % 2 * (SIZE + 4), 300 + place // 2 * (SIZE + 4)
            picture.square(x, y, SIZE, f"{place},{frame}", FRAMES[frame])
    picture.code(20, 424, "grid.start", "and")
    picture.code(150, 424, "grid.end", "extra tokens;")
    picture.code(325, 424, "grid.frames")
    picture.code(430, 424, "grid.height")
    picture.code(535, 424, "grid.width", "of the video")
    picture.text(20, 466, "See the class token and the patches alone, and get a grid without extra tokens:", bold=True)
    end = 20.0
    for name in ("block.attention.mix", "block.reduce", "model.video.set_side"):
        end += picture.code(end, 492, name) + 10
    picture.text(end, 496.5, "and modules with_grid=True")
    picture.text(20, 526, "Everything else (LoRA, AdaptFormer, norms) acts on extra tokens as on any token.")
    return picture


def _tokens_legend(picture: Picture, y: float) -> None:
    x = 20.0
    for text, fill, meaning in (
        ("c", CLASS, "class token"),
        ("s", EXTRA, "extra, place=start"),
        ("e", EXTRA, "extra, place=end"),
        ("n,t", FRAMES[0], "patch n of frame t"),
    ):
        picture.square(x, y - 14, 22, text, fill)
        picture.text(x + 28, y + 1, meaning, 11.5, QUIET)
        x += 58 + 6.6 * len(meaning)


def _sequence(picture: Picture, x: float, y: float, patches: Sequence[tuple[int, int]]) -> None:
    """Class token, extra tokens, patches (place, frame), extra token."""
    own = [(f"{place},{frame}", FRAMES[frame]) for place, frame in patches]
    for text, fill in [("c", CLASS), ("s", EXTRA), ("s", EXTRA), *own, ("e", EXTRA)]:
        picture.square(x, y, SIZE, text, fill)
        x += SIZE + 4


# The life of a trial


def trial() -> Picture:
    """What happens in a trial from the top down, with the hooks of a method."""
    picture = Picture(760, "The life of a trial")
    legend(picture, 400, ("part", "done by petl-bench"), ("hook", "done by the method"))
    x = 90.0
    y = flow(
        picture,
        x,
        52,
        [
            Part("the backbone's weights are loaded"),
            Place("method.bind", "the kind of task, its training classes", "hook"),
            Part("everything is frozen"),
            Place("method.attach", "modules at sites; what trains", "hook"),
            Part("trained parameters are counted"),
            Place("method.expected_trainable", "must equal the count", "hook"),
            Part("prompts of classes are read"),
            Place("method.prompts", "the data set's, unless defined", "hook"),
            Part("the optimiser is made"),
            Place("method.parameter_groups", "factors of rate and decay", "hook"),
            Part("training begins"),
            Place("method.prepare", "once, with the training clips", "hook"),
            Place("method.load_extra_state", "instead, if it was stopped", "hook"),
            Part("a batch of training clips"),
            Place("method.choose", "texts to encode; all, unless defined", "hook"),
            Part("clips and texts are encoded"),
            Place("method.scores", "logits; cosine, unless defined", "hook"),
            Place("method.objective", "cross-entropy, unless defined", "hook"),
            Place("method.loss", "a term that is added", "hook"),
            Part("backward, optimiser's step"),
            Place("method.ema_decay", "an average over steps", "hook"),
            Part("the epoch ends"),
            Place("method.averaging", "its weight in an average of epochs", "hook"),
            Part("selection, checkpoint"),
            Place("method.extra_state", "beside parameters and buffers", "hook"),
            Part("after the last epoch"),
            Place("method.finish", "once, with the training clips", "hook"),
            Part("the adapter file is written"),
            Part("test clips are evaluated"),
            Place("method.scores", "as in training; without labels", "hook"),
            Place("method.variants", "further evaluations", "hook"),
            Part("the record is written"),
            Place("method.merge", "folds the adapter into the weights", "hook"),
            Part("petl-bench cost --merged yes"),
        ],
        width=230,
    )
    for text, left, first, last in (
        ("each batch", 62, "a batch of training clips", "backward, optimiser's step"),
        ("each epoch", 32, "a batch of training clips", "selection, checkpoint"),
    ):
        above, below = y[first] + (20 if left > 40 else 10), y[last] + 15
        picture.arrow((x, below), (left, below), (left, above), (x, above))
        picture.upright(left - 6, (above + below) / 2, text)
    return picture


PICTURES: dict[str, Callable[[], Picture]] = {
    "sites_video": video_tower,
    "sites_text": text_tower,
    "sites_block": block,
    "sites_call": call,
    "sites_tokens": tokens,
    "trial_life": trial,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="where the SVG files go")
    folder = parser.parse_args().folder
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
