"""The video tower of a trained adapter as one file for other programs: torch.export's archive, or ONNX.

B videos, T frames, S pixels, C classes, D embedding channels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from petl_bench.api.method import Method
from petl_bench.api.setting import Evaluation
from petl_bench.api.trial import canonical_json
from petl_bench.data.loading.clip_preparation import ClipRequest, ClipSpec, prepare
from petl_bench.data.loading.transforms import short_side, to_input
from petl_bench.errors import TrialError, UsageError
from petl_bench.inference.model import AdaptedModel, refuse_unknown_classes
from petl_bench.inference.subject import Subject
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.system.files import create
from petl_bench.system.texts import clean, shortened
from petl_bench.training.evaluate import Scorer
from petl_bench.training.hooks import calling, overrides, prompts_of
from petl_bench.training.text import StepTexts, class_texts
from petl_bench.training.use import read_as
from petl_bench.training.video import EncodedBatch

#: The name of the description in a written file: an extra file of a .pt2, an entry of the metadata of an .onnx.
DESCRIPTION = "petl-bench.json"
_FORMAT = "petl-bench tower 1"
_INPUT, _FEATURES, _PROBABILITIES = "frames", "features", "probabilities"
#: By how much an output may differ from the model's: features have length 1, probabilities are at most 1.
BOUNDS = {_FEATURES: 1e-4, _PROBABILITIES: 1e-3}
#: The version of ONNX's operators.
OPSET = 18
#: Bytes of weights in one ONNX file: protobuf holds 2 GiB, and the graph is in it, too.
_LARGEST_ONNX = (1 << 31) - (1 << 26)
#: Videos in the batches that a written tower is compared on.
_BATCHES = (1, 3)

#: What a tower gives for frames float32 [B, T, 3, S, S], by the name of the output.
Run = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Written:
    """What was written: the largest difference of each output from the model's, and what to know of the file."""

    differences: Mapping[str, float]
    notes: tuple[str, ...]


def write_tower(
    subject: Subject, output: Path, output_format: str, *, classes: Sequence[str] = (), videos: Sequence[Path] = ()
) -> Written:
    """Write the video tower with its method, merged if possible, after it was compared with the model.

    Args:
        subject: A trained model.
        output: A file that is not there yet: .pt2 or .onnx.
        output_format: "torch-export" or "onnx".
        classes: C classes for the second output, probabilities [B, C]; by default those of the trial.
        videos: Files whose frames the tower is compared on, beside random ones.

    Raises:
        UsageError: The file is there, or has another suffix; the tower cannot be traced; `classes` are given and the
            method's scores are more than scaled cosines; for ONNX, a package is missing.
        TrialError: The tower computes something else than the model.
        DataError: A video cannot be read.
        StoreError: The file cannot be written.
    """
    packed = _PACKED[output_format]
    _refuse_output(output, packed)
    asked, lacking = _classes(subject, classes)
    packed.refuse_missing()
    adapted = AdaptedModel(subject, "cpu")
    with torch.no_grad():
        tower, cases = _Tower(adapted.model, _directions(adapted, asked)), _cases(adapted, asked, videos)
        merged = _merge(subject.method, adapted.model)
        tower.requires_grad_(False)
        file = packed(_traced(tower, adapted.spec, subject.method), subject.method)
        differences = _differences(file, cases)
        _refuse_different(differences, subject.method)
        described = _described(adapted, asked, merged, differences, len(videos), file.software)
        content = file.content(canonical_json(described))
    if not create(output, content):
        raise _there_already(output)
    return Written(differences, (*_notes(adapted, merged), *lacking))


class _Tower(nn.Module):
    """What is exported; the method's modules are in the video tower and behind it."""

    directions: Tensor
    scale: Tensor

    def __init__(self, model: DualEncoder, directions: Tensor | None) -> None:
        """`directions` [C, D]: what unit features of videos are multiplied with for their cosines with classes."""
        super().__init__()
        self.video, self.features = model.video, model.features
        self.has_classes = directions is not None
        if directions is not None:
            self.register_buffer("directions", directions)
            self.register_buffer("scale", model.logit_scale.detach().float().clone())

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Outputs by name for frames [B, T, 3, S, S]; as `DualEncoder.encode_video` and `cosine_logits` compute."""
        output = self.video(frames, ("frames",) if self.features.pools else ())
        unit = functional.normalize(self.features.video(self.features.pooled(output)).float(), dim=-1)
        if not self.has_classes:
            return {_FEATURES: unit}
        return {_FEATURES: unit, _PROBABILITIES: ((self.scale * unit) @ self.directions.T).softmax(dim=-1)}


class _TorchExport:
    """torch.export's archive."""

    suffix = ".pt2"
    software: Mapping[str, Any]

    def __init__(self, program: torch.export.ExportedProgram, method: Method) -> None:
        self._program = program
        self.software = {"torch": _version(torch.__version__)}

    @staticmethod
    def refuse_missing() -> None:
        """Nothing beside torch is needed."""

    def content(self, described: str) -> bytes:
        """Equal towers give equal bytes."""
        buffer = io.BytesIO()
        torch.export.save(self._program, buffer, extra_files={DESCRIPTION: described})
        return buffer.getvalue()

    def run(self, content: bytes) -> Run:
        """As `torch.export.load` reads it."""
        module = torch.export.load(io.BytesIO(content)).module()
        return lambda frames: module(frames)


class _Onnx:
    """ONNX, with all weights inside."""

    suffix = ".onnx"
    software: Mapping[str, Any]

    def __init__(self, program: torch.export.ExportedProgram, method: Method) -> None:
        weights = sum(tensor.nbytes for tensor in program.state_dict.values())
        if weights > _LARGEST_ONNX:
            raise UsageError(
                f"the tower has {weights / 2**30:.1f} GiB of weights, and one ONNX file holds 2; type --format "
                "torch-export"
            )
        outputs = [spec.arg.name for spec in program.graph_signature.output_specs]
        names = [_FEATURES, _PROBABILITIES][: len(outputs)]
        with _telling_why(method, "ONNX"):
            made = torch.onnx.export(
                program, dynamo=True, input_names=[_INPUT], output_names=names, opset_version=OPSET, verbose=False
            )
            assert made is not None
            self._model = made.model_proto
        _without_origin(self._model)
        self.software = {"torch": _version(torch.__version__), "opset": OPSET}

    @staticmethod
    def refuse_missing() -> None:
        """Raise UsageError if a package of the extra `onnx` is missing."""
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise UsageError(f"--format onnx needs {error.name}: pip install 'petl-bench[onnx]'") from error

    def content(self, described: str) -> bytes:
        """Equal towers give equal bytes."""
        del self._model.metadata_props[:]
        self._model.metadata_props.add(key=DESCRIPTION, value=described)
        content: bytes = self._model.SerializeToString(deterministic=True)
        return content

    def run(self, content: bytes) -> Run:
        """As ONNX Runtime computes it on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(frames: Tensor) -> dict[str, Tensor]:
            values = session.run(names, {_INPUT: frames.numpy()})
            return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}

        return run


#: A traced tower in one of the formats.
_File = _TorchExport | _Onnx
_PACKED: Mapping[str, type[_File]] = {"torch-export": _TorchExport, "onnx": _Onnx}


def _refuse_output(output: Path, packed: type[_File]) -> None:
    if output.suffix != packed.suffix:
        raise UsageError(f"--output {output}: the name of such a file ends in {packed.suffix}")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: there is no folder {output.parent}; make it, or name another place")
    if output.exists() or output.is_symlink():
        raise _there_already(output)


def _there_already(output: Path) -> UsageError:
    return UsageError(f"{output} is there already, and is not replaced; give another name, or remove it")


def _classes(subject: Subject, classes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes whose probabilities are written, and a note if there are none. Raises UsageError for given classes
    that cannot be had."""
    wanted = tuple(classes or subject.classes)
    reason = _without_probabilities(subject, wanted)
    if reason and classes:
        raise UsageError(f"--classes: {reason}; leave --classes away: features alone are then written")
    if reason:
        return (), (f"features alone are written: {reason}",)
    refuse_unknown_classes(subject.method, wanted)
    return wanted, ()


def _without_probabilities(subject: Subject, classes: Sequence[str]) -> str:
    """Why no probabilities of these classes can be computed from features of videos alone, in words; "" if they can."""
    method = subject.method
    if not classes:
        return "no classes are known; name some with --classes"
    if overrides(method, "scores"):
        return f"{method.name} has scores of its own, which are not scaled cosines with classes"
    if method.text_varies == "video":
        return f"the class embeddings of {method.name} depend on the video"
    if method.novel == "frozen" and not set(subject.trained_classes).issuperset(classes):
        return f"{method.name} leaves classes that it was not trained on to the frozen model"
    return ""


def _evaluation(classes: tuple[str, ...]) -> Evaluation:
    return Evaluation(name="export", samples=(), classes=classes)


def _directions(adapted: AdaptedModel, classes: tuple[str, ...]) -> Tensor | None:
    """What unit features are multiplied with for their cosines with the classes, float32 [C, D]; None without classes:
    the class embeddings, normalised, or the mean of the unit embeddings of several prompts."""
    if not classes:
        return None
    model, method = adapted.model, adapted.subject.method
    texts = class_texts(model, method, classes, adapted.subject.prompts, adapted.device)
    encoded = StepTexts(model, method, texts).encode()
    features = encoded.of_classes().float()
    return features if encoded.several else functional.normalize(features, dim=-1)


def _merge(method: Method, model: DualEncoder) -> bool:
    """Fold the method into the backbone's weights; False if that cannot be."""
    if not method.mergeable:
        return False
    try:
        with calling(method, "merge(model)"):
            method.merge(model)
    except UsageError:  # parts of a composition that cannot be merged together
        return False
    return True


def _traced(tower: _Tower, spec: ClipSpec, method: Method) -> torch.export.ExportedProgram:
    """The tower as torch.export sees it, for any number of videos, without a trace of where its code lies."""
    frames = torch.zeros(2, spec.num_frames, 3, spec.size, spec.size)
    shapes = {_INPUT: {0: torch.export.Dim("batch", min=1)}}
    with _telling_why(method, "torch.export"):
        program = torch.export.export(tower.eval(), (frames,), dynamic_shapes=shapes, strict=True)
    for node in program.graph.nodes:
        node.meta = {name: value for name, value in node.meta.items() if name in ("val", "tensor_meta")}
    return program


@contextmanager
def _telling_why(method: Method, target: str) -> Iterator[None]:
    """One line that names the method for whatever goes wrong in a translation; its warnings are for developers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        said = shortened(clean(f"{type(error).__name__}: {error}"), 300)
        what = f"{method.name} cannot be exported: {target} cannot represent its forward pass"
        raise UsageError(f"{what}: {said}") from error


def _without_origin(model: Any) -> None:
    """Take paths of source files out of an ONNX model, and call the first axis of its inputs and outputs batch."""
    graph = model.graph
    del graph.value_info[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _cases(
    adapted: AdaptedModel, classes: tuple[str, ...], videos: Sequence[Path]
) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Frames [B, T, 3, S, S], and what the model gives for them: random pixels, and each video alone and in a batch."""
    batches = [_random_frames(adapted.spec, count) for count in _BATCHES]
    for video in videos:
        view = _frames_of(adapted.spec, video)[:1]
        batches += [torch.cat([view, _random_frames(adapted.spec, count)[1:]]) for count in _BATCHES]
    scorer = None
    if classes:
        subject = adapted.subject
        scorer = Scorer(
            adapted.model,
            subject.method,
            _evaluation(classes),
            subject.prompts,
            "fp32",
            adapted.device,
            subject.trained_classes,
            subject.trial_seed,
        )
    return [(frames, _expected(adapted, scorer, frames)) for frames in batches]


def _random_frames(spec: ClipSpec, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (count, spec.num_frames, 3, spec.size, spec.size)
    return to_input(torch.randint(256, shape, generator=generator, dtype=torch.uint8), spec.mean, spec.std)


def _frames_of(spec: ClipSpec, video: Path) -> Tensor:
    """The views of a video as its trial's evaluation reads it: float32 [V, T, 3, S, S]."""
    return to_input(torch.from_numpy(prepare(spec, ClipRequest(video.name, video, 0)).frames), spec.mean, spec.std)


def _expected(adapted: AdaptedModel, scorer: Scorer | None, frames: Tensor) -> dict[str, Tensor]:
    """What the evaluation computes of frames [B, T, 3, S, S] in fp32."""
    model, names = adapted.model, [str(number) for number in range(len(frames))]
    output = model.video_output(frames, adapted.subject.method.reads)
    found = {_FEATURES: functional.normalize(model.finish_video(output).float(), dim=-1)}
    if scorer is not None:
        batch = EncodedBatch(list(range(len(frames))), names, [0] * len(frames), output)
        found[_PROBABILITIES] = scorer.logits(batch).softmax(dim=-1)
    return found


def _differences(file: _File, cases: Sequence[tuple[Tensor, Mapping[str, Tensor]]]) -> dict[str, float]:
    """The largest difference of each output of the file from the model's."""
    run = file.run(file.content(""))
    found: dict[str, float] = {}
    for frames, expected in cases:
        given = run(frames)
        for name, value in expected.items():
            found[name] = max(found.get(name, 0.0), float((given[name] - value).abs().max()))
    return found


def _refuse_different(differences: Mapping[str, float], method: Method) -> None:
    for name, difference in differences.items():
        if not difference <= BOUNDS[name]:  # of what is not a number, too
            raise TrialError(
                f"{method.name} is not exported: {name} of the written tower differ from the model's by "
                f"{difference:.1e}, more than {BOUNDS[name]:g}"
            )


def _described(
    adapted: AdaptedModel,
    classes: tuple[str, ...],
    merged: bool,
    differences: Mapping[str, float],
    videos: int,
    software: Mapping[str, Any],
) -> dict[str, Any]:
    """What a program must know to use the tower, and where it comes from. No paths are in it."""
    subject, spec, config = adapted.subject, adapted.spec, adapted.model.config
    shapes = {_FEATURES: ["batch", config.embed_dim], _PROBABILITIES: ["batch", len(classes)]}
    own = prompts_of(subject.method, classes) if classes else None
    templates = {"templates": list(subject.prompts.templates), "cleaned": subject.prompts.cleaned}
    return {
        "format": _FORMAT,
        "trial": "" if subject.trial is None else subject.trial.key,
        "method": subject.method.name,
        "hyper_parameters": dict(subject.method.values()),
        "merged": merged,
        "backbone": type(subject.backbone).name,
        "weights_sha256": subject.weights.sha256,
        "adapter_sha256": subject.adapter_sha256,
        "input": {"name": _INPUT, "type": "float32", "shape": ["batch", spec.num_frames, 3, spec.size, spec.size]},
        "outputs": [{"name": name, "type": "float32", "shape": shapes[name]} for name in differences],
        "classes": list(classes),
        "prompts": templates if own is None else {"of_classes": [list(texts) for texts in own]},
        "logit_scale": float(adapted.model.logit_scale),
        "clips": read_as(spec),
        "preprocessing": _read_in_words(spec),
        "compared": {
            "with": "the model in fp32 on the CPU",
            "random_batches": list(_BATCHES),
            "videos": videos,
            "largest_difference": dict(differences),
            "bound": {name: BOUNDS[name] for name in differences},
        },
        "software": dict(software),
    }


def _read_in_words(spec: ClipSpec) -> dict[str, str]:
    """How a video of N frames becomes the input."""
    count, size = spec.num_frames, spec.size
    chosen = f"frame int((i + 1/2) N / {count}) of N, for i = 0 to {count - 1}"
    if spec.frames_per_second is not None:
        chosen = (
            f"{count} frames, evenly from the first to the last of those taken at {spec.frames_per_second:g} per second"
        )
    elif spec.view_sampling == "middle":
        chosen = f"the middle frame of each of {count} equal segments"
    elif spec.views > 1:
        chosen = f"one frame of each of {count} equal chunks, {spec.views} times"
    cropped = f"the short side resized to {short_side(size, spec.crops)}, then {size} x {size} pixels of the centre"
    if spec.crops > 1:
        cropped = (
            f"the short side resized to {short_side(size, spec.crops)}, then {spec.crops} crops of {size} x {size}"
        )
    squashed = f"resized to {size} x {size}, whatever the shape"
    return {
        "frames": chosen,
        "size": f"{squashed if spec.eval_resize == 'squash' else cropped}; bicubic, anti-aliased, rounded to whole "
        f"values; frames of {size} x {size} are left as they are",
        "values": "(value / 255 - mean) / std for each channel, in the order red, green, blue",
        "views": f"{spec.views * spec.crops}: the mean of their probabilities is the video's",
    }


def _notes(adapted: AdaptedModel, merged: bool) -> Iterator[str]:
    yield from adapted.notes
    method, precision, spec = adapted.subject.method, adapted.subject.options.precision, adapted.spec
    if adapted.subject.adapter is not None:
        yield f"{method.name} is {'merged into the weights' if merged else 'in the tower, not merged into the weights'}"
    if precision != "fp32":
        yield f"the tower computes in fp32; its trial was evaluated in {precision}"
    if spec.pads:
        yield f"the tower has no mask of frames: give it {spec.num_frames} frames of each video, none of them padding"


def _version(text: str) -> str:
    """A version without the build of a machine."""
    return text.partition("+")[0]
