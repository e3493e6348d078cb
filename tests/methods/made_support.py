"""Training clips with given features, for methods that prepare; see `pb.Support`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import petl_bench as pb


@dataclass
class GivenSupport:
    """N training clips of C classes, in two batches."""

    model: pb.DualEncoder
    text: Tensor  #: [C, D]
    labels: Tensor  #: int64 [N]
    augmented: Tensor  #: [P, N, D], of P augmented passes
    centre: Tensor  #: [N, D]
    unreadable: tuple[int, ...] = ()  #: rows that are left out

    @property
    def clips(self) -> int:
        return len(self.labels)

    def encode(self, passes: int = 1, augment: bool = False) -> Iterator[pb.Step]:
        rows = torch.tensor([row for row in range(self.clips) if row not in self.unreadable])
        for number in range(passes):
            features = self.augmented[number] if augment else self.centre
            for part in rows.chunk(2):
                step = step_of(self.model, features[part], self.text, torch.arange(len(self.text)))
                step.labels, step.rows = self.labels[part], part
                yield step


def given_support(model: pb.DualEncoder, *, clips: int = 7, classes: int = 3, passes: int = 2) -> GivenSupport:
    """Seeded random features; clip 4 is unreadable. Clips of a class lie near to each other."""
    generator = torch.Generator().manual_seed(5)
    size = model.config.embed_dim
    labels = torch.arange(clips) % classes
    centres = torch.randn(classes, size, generator=generator)
    augmented = centres[labels] + 2 * torch.randn(passes, clips, size, generator=generator)
    centre = centres[labels] + 2 * torch.randn(clips, size, generator=generator)
    return GivenSupport(model, torch.randn(classes, size, generator=generator), labels, augmented, centre, (4,))


def step_of(model: pb.DualEncoder, video: Tensor, text: Tensor, trained_class: Tensor) -> pb.Step:
    """A step without labels, as evaluation has it."""
    step = pb.Step(model, video, text)
    step.training, step.trained_class = False, trained_class
    return step


def attached(model: pb.DualEncoder, method: pb.Method, support: GivenSupport) -> pb.Method:
    """The method, bound to the task of the support and attached to the model."""
    names = tuple(f"class {number}" for number in range(len(support.text)))
    method.bind(pb.MethodTask("classification", names, support.clips))
    method.attach(model)
    return method
