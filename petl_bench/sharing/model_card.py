"""The model card of a trial: a README.md for the Hub, made from its record alone.

Nothing of the machine that the trial ran on is in it but versions and the kind of device: no path, no name of a host,
user or clip, and no note of the record, since these may name files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from petl_bench.analysis.labels import dataset_display, method_display
from petl_bench.api.evidence import Evidence
from petl_bench.api.marks import mark_of
from petl_bench.api.paper import Paper
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS, TABLES
from petl_bench.api.trial import Trial
from petl_bench.errors import PetlBenchError, UsageError
from petl_bench.hub.address import DATA_PREFIX, data_address
from petl_bench.records.frame import frame, rows_of
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.retrieval_outcomes import is_retrieval
from petl_bench.render import markdown
from petl_bench.render.markdown import escape
from petl_bench.system.texts import clean, name
from petl_bench.training.use import prompts_of

#: Licences that the Hub knows by these names; any other one is `other` there, with a name.
_LICENCES = {
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "gpl-3.0",
    "lgpl-3.0",
    "agpl-3.0",
    "mpl-2.0",
    "isc",
    "unlicense",
}
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_BASE_MODEL = re.compile(r"(?:hf:|Hugging Face )([\w.-]+/[\w.-]+)", re.ASCII)
#: Classes that are named one by one.
_NAMED = 20
#: What PyYAML and other readers refuse in a text, though it is no control.
_NOT_IN_YAML = re.compile("[\ufffe\uffff]")


@dataclass(frozen=True)
class CardSource:
    """What a card is made from.

    Attributes:
        record: Of the trial.
        header: Of its adapter file (`petl_bench.training.checkpoint.load_adapter`).
        runs: Where the per-clip predictions lie that intervals are worked out from.
        repository: USER/NAME on the Hub.
        licence: Of the adapter, as an SPDX identifier; None if it is not stated.
    """

    record: Mapping[str, Any]
    header: Mapping[str, Any]
    runs: Path
    repository: str
    licence: str | None = None

    @property
    def trial(self) -> Trial:
        """The trial, without the places of files."""
        return Trial.from_json({**self.record["trial"], "locations": {}})


def model_card(source: CardSource) -> str:
    """The text of README.md: YAML that the Hub reads, then Markdown."""
    sections = [_title(source), _use(source), _results(source), _training(source), _licences(source), _cite(source)]
    return f"---\n{_front_matter(source)}---\n\n" + "\n\n".join(sections) + "\n"


def refuse_licence(text: str) -> None:
    """Raise UsageError if a text is no identifier of a licence."""
    if not _SPDX.fullmatch(text):
        raise UsageError(f"--licence {clean(text)}: expected an SPDX identifier, such as Apache-2.0 or CC-BY-NC-4.0")


# ---------------------------------------------------------------- YAML


def _front_matter(source: CardSource) -> str:
    values = dict(_metadata(source))
    # JSON is YAML: one line for each field, and no text of a record can end it.
    return "".join(f"{field}: {_NOT_IN_YAML.sub('?', _json(value))}\n" for field, value in values.items())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _metadata(source: CardSource) -> Iterator[tuple[str, Any]]:
    trial = source.trial
    yield "library_name", "petl-bench"
    if source.licence is not None:
        known = source.licence.lower()
        yield "license", known if known in _LICENCES else "other"
        if known not in _LICENCES:
            yield "license_name", source.licence
    yield "tags", ["video", "parameter-efficient-fine-tuning", *map(name, (trial.method, trial.backbone))]
    if base := _base_model(trial):
        yield "base_model", base
    if data := _hub_data(source.record):
        yield "datasets", [data]
    if _classifies(source.record):
        yield "pipeline_tag", "video-classification"
    yield "model-index", [{"name": source.repository.partition("/")[2], "results": [_index(source)]}]


def _classifies(record: Mapping[str, Any]) -> bool:
    """Whether a trial classifies clips, and does not retrieve."""
    return not any(map(is_retrieval, record["coverage"].values()))


def _index(source: CardSource) -> dict[str, Any]:
    trial, classifies = source.trial, _classifies(source.record)
    task = {"type": "video-classification"} if classifies else {"type": "other", "name": "video-text retrieval"}
    return {
        "task": task,
        "dataset": {"type": name(trial.dataset), "name": _data_name(trial), "split": name(trial.split)},
        "metrics": [
            {"type": "accuracy" if classifies else "recall", "name": name(metric), "value": round(value, 4)}
            for metric, value in source.record["metrics"].items()
        ],
    }


def _base_model(trial: Trial) -> str | None:
    """The repository of the backbone's weights on the Hub, if it is known."""
    published = [each.where for each in BACKBONES.get(trial.backbone).published if each.file == trial.weights]
    found = [match[1] for text in (trial.weights, *published) if (match := _BASE_MODEL.search(text))]
    return found[0] if found else None


def _hub_data(record: Mapping[str, Any]) -> str | None:
    """The repository that the trial's data came from, if that was the Hub."""
    beginning = f"from {DATA_PREFIX}"
    for note in record["notes"]:
        if note.startswith(beginning):
            try:
                return data_address(note.removeprefix("from ")).repository
            except UsageError:
                continue
    return None


# ---------------------------------------------------------------- Markdown


def _title(source: CardSource) -> str:
    trial = source.trial
    shown = method_display(trial.method, trial.hyper_parameters)
    count, of = source.record["trainable_params"], source.record["backbone_params"]
    return (
        f"# {escape(shown)} on {escape(BACKBONES.display(trial.backbone))}, {escape(_data_name(trial))}\n\n"
        f"An adapter of {escape(shown)} for the video-language model {escape(BACKBONES.display(trial.backbone))}, "
        f"trained and evaluated with petl-bench. {count:,} parameters were "
        f"trained; the backbone has {of:,}. The backbone is not in this repository."
    )


def _use(source: CardSource) -> str:
    repository = source.repository
    return (
        "## Use\n\n"
        "```python\n"
        "import petl_bench as pb\n\n"
        f'model = pb.load_adapter("hf:{repository}")\n'
        'frames = model.preprocess("clip.mp4")  # [T, 3, H, W], as in evaluation\n'
        f"{_prediction(source)}\n"
        "```\n\n"
        "```sh\n"
        "pip install 'petl-bench[hub]'\n"
        f"petl-bench predict --adapter hf:{repository} --videos my_videos\n"
        "```\n\n"
        f"The backbone's weights must be those that it was trained on: {_weights(source.trial)}."
    )


def _prediction(source: CardSource) -> str:
    """The line that labels a clip; an adapter of retrieval has no classes of its own."""
    if _classifies(source.record):
        return 'probabilities = model.predict(["clip.mp4"])  # [1, C], of model.classes'
    return 'probabilities = model.predict(["clip.mp4"], classes=["archery", "surfing"])  # [1, 2]'


def _results(source: CardSource) -> str:
    marks = [mark_of(word) for word in source.record["marks"]]
    remarks = [f"{mark.symbol}: {mark.meaning}" for mark in marks]
    one_seed = f"This is one trial with one seed ({source.trial.seed}). One seed tells no methods apart."
    table = _table(source)
    metrics = [f"{metric}: {value:.2f}" for metric, value in source.record["metrics"].items()]
    counted = [
        f"{evaluation}: {counts['used']:,} of {counts['expected']:,} clips scored"
        for evaluation, counts in source.record["coverage"].items()
        if "@" not in evaluation
    ]
    shown = table or _list([*metrics, *remarks])
    return f"## Results\n\n{one_seed}\n\n{shown}\n\nCoverage:\n\n{_list(counted)}"


def _table(source: CardSource) -> str:
    """The trial in the table of its setting, with intervals; "" if no table shows it here."""
    trial = source.trial
    try:
        table = TABLES.get(SETTINGS.get(trial.setting)().table_of(trial.case))
        record = {**source.record, "trial": {**source.record["trial"], "locations": {}}}
        evidence = Evidence(frame(rows_of([record])), outcomes=StoredOutcomes([source.runs]))
        return markdown.render(replace(table().build(evidence), spread="interval")).strip()
    except PetlBenchError:
        return ""


def _training(source: CardSource) -> str:
    record, trial = source.record, source.trial
    training, environment, clips = trial.training, record["environment"], record["train_clips"]
    facts = {
        "method": trial.method,
        "hyper-parameters": _values(trial.hyper_parameters),
        "backbone": " ".join(filter(None, [trial.backbone, _values(trial.backbone_options)])),
        "weights": _weights(trial),
        "data set": " ".join(filter(None, [_data_name(trial), _values(trial.dataset_options)])),
        "clips of the data set": f"sha256 {trial.manifest_sha256}",
        "setting": " ".join(filter(None, [SETTINGS.display(trial.setting), _values(trial.setting_options)])),
        "split": trial.split,
        "shots": "" if trial.shots is None else str(trial.shots),
        "seed": str(trial.seed),
        "training clips": f"{clips['used']:,} of {clips['expected']:,}",
        "training": _values(training),
        "epoch that is evaluated": str(training.get("select", "last")),
        "views per video": f"{training.get('views', 1)} x {training.get('crops', 1)} (clips x crops)",
        **_of_use(source.header),
        "trained parameters": f"{record['trainable_params']:,}",
        "device": str(environment.get("device", "")),
        "software": ", ".join(
            f"{label} {environment[field]}".strip()
            for field, label in (("petl_bench", "petl-bench"), ("python", "Python"), ("software", ""))
            if field in environment
        ),
        "trial": trial.key,
    }
    rows = [f"| {escape(fact)} | {escape(value)} |" for fact, value in facts.items() if value]
    return "## How it was trained\n\n" + "\n".join(["| | |", "|---|---|", *rows])


def _of_use(header: Mapping[str, Any]) -> dict[str, str]:
    """How clips and class names are read, as far as the adapter file says it."""
    if "use" not in header:
        return {}
    use = header["use"]
    clips = {field: value for field, value in use["clips"].items() if isinstance(value, str | int | float | list)}
    classes = list(dict.fromkeys(each for some in use["evaluations"].values() for each in some))
    more = f", and {len(classes) - _NAMED:,} more" if len(classes) > _NAMED else ""
    return {
        "clips are read as": _values(clips),
        "prompts": str(prompts_of(use)),
        "classes": f"{len(classes):,}: {', '.join(map(name, classes[:_NAMED]))}{more}" if classes else "",
    }


def _licences(source: CardSource) -> str:
    trial = source.trial
    own = source.licence or "not stated: ask its author"
    facts = {
        "this adapter": own,
        "the backbone's weights": _weights_licence(trial),
        "the data set": _data_licence(trial),
    }
    facts["the published method"] = paper.licence if (paper := _paper(METHODS, trial.method)) else ""
    return "## Licences\n\n" + _list(f"{what}: {text}" for what, text in facts.items() if text)


def _cite(source: CardSource) -> str:
    trial = source.trial
    plugins = [(METHODS, trial.method), (BACKBONES, trial.backbone), (DATASETS, trial.data_plugin)]
    papers = {paper.title: paper for kind, each in plugins if (paper := _paper(kind, each))}
    entries = [f"{paper.bibtex.replace('`', '')}\n" for paper in papers.values() if paper.bibtex]
    named = _list(f"{paper.title}, {paper.venue}" for paper in papers.values())
    fence = f"\n\n```bibtex\n{''.join(entries)}```" if entries else ""
    return f"## Cite\n\n{named}{fence}"


def _paper(registry: Any, plugin: str) -> Paper | None:
    try:
        paper: Paper | None = getattr(registry.get(plugin), "paper", None)
    except PetlBenchError:
        return None
    return paper


def _weights(trial: Trial) -> str:
    return f"{name(trial.weights)}, sha256 {trial.weights_sha256}"


def _weights_licence(trial: Trial) -> str:
    published = BACKBONES.get(trial.backbone).published
    return next((each.licence for each in published if each.file == trial.weights), "")


def _data_licence(trial: Trial) -> str:
    try:
        licence: str = DATASETS.get(trial.data_plugin).licence
    except PetlBenchError:
        return ""
    return "" if trial.dataset_plugin else licence  # of a user's own folder the plugin says nothing


def _data_name(trial: Trial) -> str:
    return name(dataset_display(trial.dataset, trial.dataset_plugin))


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{field}={_json(value) if isinstance(value, list | dict) else value}" for field, value in values.items()
    )


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {escape(text)}" for text in texts)
