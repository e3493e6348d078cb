"""Writes docs/methods.md, a section for each registered method, from what the methods' own files say.

    make methods          (python docs/generate_methods.py)

Of each method: the first line of its docstring, its equation (the first paragraph behind it, with the next one if it
ends with a colon), its paper, and what the table `capabilities` has of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import petl_bench as pb
from petl_bench.api.method import Method
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.api.tuning import RATE
from petl_bench.cli.show import tuned_fields
from petl_bench.records.frame import frame
from petl_bench.reports.capabilities import CapabilitiesTable

PAGE = Path(__file__).parent / "methods.md"
#: The backbones whose counts are shown.
PUBLISHED = ("viclip-b16", "clip-b16")
HEAD = """# Methods

<!-- Written by docs/generate_methods.py from the methods' own files: type `make methods` after a change. -->

Every registered method: what it does, its equation, its paper, and what it can do and needs. `petl-bench show NAME` has
its fields and recipes; `petl-bench report --table capabilities` has them all side by side
([how to read it](tables.md#which-method-fits)). Tuners of Hugging Face PEFT are methods too, `peft:TYPE`: they have
[their own page](peft.md).

The last lines of a section:

- **Trained parameters** are counted at the sizes of the method's own recipe for that backbone, which follows its paper:
  on `viclip-b16`, `lora` has rank 256 on the video tower, `dora` rank 8 on both towers. They do not compare methods at
  equal size. Set sizes yourself, and see the counts before anything runs:
  `petl-bench run --methods lora,dora --set lora.rank=4 --set dora.rank=4 --dry-run`.
- **Merged into the backbone's weights**: `merge` leaves the frozen backbone's FLOPs and parameters. What is left
  without products takes time alone: `zero_i2v` copies keys and values of other frames
  ([cost protocol](cost_protocol.md#merged-methods)).
- **No graph through the backbone**: training keeps no activations of the backbone's blocks, and so takes little memory.
  How much, `petl-bench cost --methods clip_adapter,lst,lora --batch-sizes 8` measures
  ([Which one saves training memory?](tables.md#which-one-saves-training-memory)).
- **Tuned**: what `petl-bench tune` tries of a method by default. If nothing is said, that is the learning rate alone,
  from a tenth to ten times that of the recipe ([which fields belong into a space](write_a_method.md#what-is-tuned)).
- **Variants** that others have published are fields: rsLoRA is `lora.rslora=true`, LoRA+ is `lora.plus=16`. Both change
  what a learning rate means, so search it anew.
- **Not for** a backbone: `petl-bench report --explain capabilities seq_transf viclip-b16` has the reason.
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


def page() -> str:
    """The whole page."""
    facts = capabilities()
    sections = ["\n".join(section(name, METHODS.get(name), facts[name])) for name in sorted(facts)]
    return "\n".join([HEAD, *sections])


def capabilities() -> Mapping[str, Mapping[str, str]]:
    """Method -> column -> what the table `capabilities` has there, numbers as whole parameters; "" for nothing."""
    table = CapabilitiesTable().build(pb.Evidence(frame([])))
    labels = [column.label for column in table.columns]
    rows = [row for group in table.groups for row in group.rows]
    return {row.label: dict(zip(labels, map(text, row.cells), strict=True)) for row in rows}


def text(cell: pb.Cell) -> str:
    """What a cell of the table says."""
    return f"{round(1e6 * cell.value):,}" if isinstance(cell.value, float) else cell.value or ""


def section(name: str, method: type[Method], facts: Mapping[str, str]) -> Iterator[str]:
    """The lines of one method."""
    summary, equation = summary_and_equation(method)
    yield f"## {name}\n"
    if method.display:
        yield f"In tables and figures: {escaped(method.display)}.\n"
    yield f"{escaped(summary)}\n"
    yield f"```text\n{equation}\n```\n"
    paper = method.paper
    if paper is not None:
        yield f"Paper: [{escaped(paper.title)}]({paper.url}), {escaped(paper.venue)}.\n"
    yield f"{'; '.join([*words(facts), *tuned(method)])}.\n"


def summary_and_equation(method: type[Method]) -> tuple[str, str]:
    """The first line of a docstring and its equation. Raises ValueError if there is none."""
    summary, *paragraphs = inspect.cleandoc(method.__doc__ or "").split("\n\n")
    count = 2 if paragraphs and paragraphs[0].endswith(":") else 1
    equation = "\n\n".join(paragraphs[:count])
    if not re.search("=|<-", equation):
        raise ValueError(
            f"{method.name}: the docstring has no equation; it is the first paragraph behind the first line, and has a "
            '"=" or "<-"'
        )
    return " ".join(summary.split()), equation


def words(facts: Mapping[str, str]) -> Iterator[str]:
    """What a method can do and needs, in words."""
    counts = {name: facts[name] for name in PUBLISHED if facts[name]}
    refused = [name for name in BACKBONES.names() if not facts[name]]
    if len(set(counts.values())) == 1:
        counts = {" and ".join(counts): next(iter(counts.values()))}
    yield "Trained parameters: " + ", ".join(f"{count} on {name}" for name, count in counts.items())
    yield {
        "yes": "merged into the backbone's weights",
        "in place": "trains weights of the backbone, or nothing",
        "no": "not mergeable",
    }[facts["mergeable"]]
    yield {
        "yes": "scores new classes",
        "frozen": "new classes by the frozen model",
        "no": "closed vocabulary",
    }[facts["new"]]
    yield "keeps a graph through the backbone" if facts["graph"] == "yes" else "no graph through the backbone"
    if facts["reads"] != "-":
        yield f"needs {facts['reads']}"
    yield "classification and retrieval" if facts["tasks"] == "both" else f"{facts['tasks']} alone"
    if refused:
        yield f"not for {', '.join(refused)}"


def tuned(method: type[Method]) -> Iterator[str]:
    """What is tuned of a method, in words, if it is not the learning rate alone."""
    fields = {field: values for field, values in tuned_fields(method).items() if field != RATE}
    if fields:
        beside = " beside the learning rate" if RATE in tuned_fields(method) else ""
        yield f"tuned{beside}: " + ", ".join(f"`{field}` {values}" for field, values in fields.items())


def escaped(text: str) -> str:
    """A text without the signs that Markdown reads."""
    return re.sub(r"([\\*_<>\[\]`])", r"\\\1", text)


if __name__ == "__main__":
    main()
