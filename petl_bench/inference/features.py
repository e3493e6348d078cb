"""Features of videos and texts, as unit vectors of the space that both towers share. N videos, V views, D channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.api.method import Method
from petl_bench.api.values.flag_lists import split_list
from petl_bench.errors import UsageError
from petl_bench.inference.model import AdaptedModel
from petl_bench.inference.videos import lines_of, named_file
from petl_bench.models.tokenizer import tokenize
from petl_bench.system.texts import clean, has_controls, shortened
from petl_bench.training.device import autocast
from petl_bench.training.evaluate import refuse_without_direction
from petl_bench.training.hooks import overrides
from petl_bench.training.text import encoded_in_parts

#: Bytes of a file of texts.
_LARGEST = 64_000_000


def no_free_texts(method: Method) -> str:
    """Why a method scores no free texts, in words; "" if it does."""
    if method.novel != "text":
        return f"{method.name} scores the classes it was trained on alone, and no free texts"
    if "retrieval" not in method.tasks and overrides(method, "scores"):
        return f"{method.name} scores classes alone, and no free texts"
    return ""


def refuse_no_text_features(method: Method) -> None:
    """Raise UsageError for a method with which a text has no features of its own."""
    varies = f"{method.name} computes texts anew for every video" if method.text_varies == "video" else ""
    if fault := no_free_texts(method) or varies:
        raise UsageError(f"{fault}: there are no features of texts with it")


def scores_note(method: Method) -> str:
    """What a user of features should know of the method's scores; "" if they are the cosine of these features."""
    if method.text_varies == "video" or method.novel != "text" or overrides(method, "scores"):
        return f"{method.name} has scores of its own: they are not the cosine of these features"
    return ""


@torch.no_grad()
def video_features(
    model: AdaptedModel, paths: Mapping[str, Path], workers: int = 0
) -> Iterator[tuple[dict[str, Tensor], dict[str, str]]]:
    """The features of videos in the order of `paths`, batch by batch.

    Args:
        model: Encodes.
        paths: The file of each video, by name.
        workers: Processes that decode.

    Yields:
        The unit vectors of each readable video's views, float32 [V, D] on the CPU, by name; and for the others of the
        batch the reason why they cannot be read. With several views, the mean over them of their cosine with a text is
        what retrieval ranks by.

    Raises:
        TrialError: A feature is not finite, or zero.
    """
    for batch, unread in model.encoded(paths, workers, in_order=True):
        units: list[Tensor] = []
        if batch.clips:
            with autocast(model.device, model.subject.options.precision):
                features = model.model.finish_video(batch.output)
            unit = functional.normalize(features.float(), dim=-1).unflatten(0, (-1, batch.views))
            refuse_without_direction(unit, batch.clips, "the feature of video")
            units = list(unit.cpu())
        yield dict(zip(batch.clips, units, strict=True)), unread


@torch.no_grad()
def text_features(model: AdaptedModel, texts: Sequence[str]) -> Tensor:
    """The features of texts, which are read as they are: unit vectors, float32 [M, D] on the CPU.

    Raises:
        UsageError: A text has no features with this method.
        TrialError: A feature is not finite, or zero.
    """
    refuse_no_text_features(model.subject.method)
    tokens = tokenize(list(texts), model.model.config.context_length).to(model.device)
    with autocast(model.device, model.subject.options.precision):
        features = encoded_in_parts(model.model, tokens)
    unit = functional.normalize(features.float(), dim=-1)
    refuse_without_direction(unit, texts, "the feature of text")
    return unit.cpu()


def texts_of(text: str) -> list[str]:
    """The texts in the value of `--texts`: the lines of a file that are not blank, else a list with commas between.

    Raises UsageError for a file that cannot be read, for no text, and for one with control characters.
    """
    file = named_file(text)
    texts = [line for _, line in lines_of(file, "--texts", _LARGEST)] if file else list(split_list(text, "--texts"))
    if not texts:
        raise UsageError(f"--texts {shortened(text, 80)}: no text in it")
    if hostile := next((each for each in texts if has_controls(each)), None):
        raise UsageError(f"--texts: {shortened(clean(hostile), 80)!r} has control characters")
    return texts
