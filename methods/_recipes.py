"""Recipes that several methods share. A method's own file says which values they hold for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import petl_bench as pb

#: What MSTA (CVPR 2025, Table 1) trains its own adapter with: 1e-3 with 32 clips per step, 8e-3 with 256; in proportion
#: 4e-3 with the 128 of retrieval, which it does not have.
MSTA_RATES = {
    "base2novel": 1e-3,
    "few_shot": 1e-3,
    "zero_shot_transfer": 8e-3,
    "fully_supervised": 8e-3,
    "retrieval": 4e-3,
}
#: Clips per step of each setting.
BATCHES = {"base2novel": 32, "few_shot": 32, "zero_shot_transfer": 256, "fully_supervised": 256, "retrieval": 128}
_SAME_BATCH = "learning rate of MSTA for the same batch, not tuned for this method"
PROPORTIONAL = "learning rate of MSTA in proportion to the batch, not tuned"
#: The learning rates that were tried for most methods in retrieval.
SEARCHED_IN_RETRIEVAL = "3e-4, 1e-3, 3e-3"
#: The epochs of the setting retrieval, which the small backbones' own budget would else replace.
_EPOCHS = {"epochs": 5}


def at_the_rates_of_msta(hyper: Mapping[str, Any], source: str) -> list[pb.Recipe]:
    """One recipe per setting for a method whose own authors name no learning rate; `source`: of the sizes."""
    return [
        pb.Recipe(
            name,
            None,
            {"learning_rate": rate},
            hyper,
            f"{source}; {PROPORTIONAL if name == 'retrieval' else _SAME_BATCH}",
            tuned=False,
        )
        for name, rate in MSTA_RATES.items()
    ]


def at_the_authors_rate(rate: float, hyper: Mapping[str, Any], source: str) -> list[pb.Recipe]:
    """One recipe per setting with the learning rate that the authors train with elsewhere; `source` says where."""
    source = f"{source}; not tuned for this setting"
    return [pb.Recipe(name, None, {"learning_rate": rate}, hyper, source, tuned=False) for name in MSTA_RATES]


def in_proportion_to_the_batch(rate: float, clips: int, hyper: Mapping[str, Any], source: str) -> list[pb.Recipe]:
    """One recipe per setting for a method whose authors say a learning rate for `clips` per step, and scale it with the
    batch; `source`: of that rate and the sizes."""
    source = f"{source}; here in proportion to the batch, not tuned for this setting"
    return [
        pb.Recipe(name, None, {"learning_rate": rate * batch / clips}, hyper, source, tuned=False)
        for name, batch in BATCHES.items()
    ]


def tuned_on_motion(rate: float, searched: str, hyper: Mapping[str, Any] | None = None, sizes: str = "") -> pb.Recipe:
    """The recipe for `viclip-tiny` in `base2novel`.

    Args:
        rate: The learning rate that was found.
        searched: The learning rates that were tried.
        hyper: The method's sizes for this small backbone.
        sizes: Where these come from, if it is to be said.
    """
    source = (
        f"{sizes}learning rate of {searched} with the best accuracy on held-out training clips, mean of two halves of "
        "motion's base classes (the smaller one at a tie)"
    )
    return pb.Recipe("base2novel", "viclip-tiny", {"learning_rate": rate}, hyper or {}, source)


def tuned_on_draws(rate: float, searched: str, hyper: Mapping[str, Any] | None = None, sizes: str = "") -> pb.Recipe:
    """As `tuned_on_motion`, for a rate that was found with `--seeds 3,4 --select val`."""
    source = (
        f"{sizes}learning rate of {searched} with the best accuracy on held-out training clips after the last epoch, "
        "mean of two draws of motion (seeds 3 and 4)"
    )
    return pb.Recipe("base2novel", "viclip-tiny", {"learning_rate": rate}, hyper or {}, source)


def tuned_here(rate: float, former: float, hyper: Mapping[str, Any] | None = None, sizes: str = "") -> pb.Recipe:
    """As `tuned_on_motion`, for a rate that `petl-bench tune` chose, with one budget for every method (docs/demo.md).

    Args:
        rate: The learning rate that was chosen.
        former: The recipe's rate before, which was proposal 0 and the middle of the range.
        hyper: The method's sizes for this small backbone.
        sizes: Where these come from, if it is to be said.
    """
    source = (
        f"{sizes}learning rate of 8 proposals of petl-bench tune (the former recipe's {former:g}, Sobol, TPE) with the "
        "best harmonic mean on halves of motion's base classes (pseudo-hm, 2 draws, training clips of seeds 3-5)"
    )
    return pb.Recipe("base2novel", "viclip-tiny", {"learning_rate": rate}, hyper or {}, source)


def not_tuned_elsewhere(rate: float, hyper: Mapping[str, Any] | None = None) -> list[pb.Recipe]:
    """The same values where they were not searched for: in the other settings, and on `clip-tiny`."""
    what = f"{'sizes and ' if hyper else ''}learning rate of"
    settings = ("few_shot", "zero_shot_transfer", "fully_supervised")
    places = [(name, "viclip-tiny", f"{what} a search in base2novel, not tuned for this setting") for name in settings]
    places += [
        (name, "clip-tiny", f"{what} a search on viclip-tiny in base2novel, not tuned for this backbone")
        for name in ("base2novel", *settings)
    ]
    return [
        pb.Recipe(setting, backbone, {"learning_rate": rate}, hyper or {}, source, tuned=False)
        for setting, backbone, source in places
    ]


def tuned_for_retrieval(
    rate: float, searched: str, hyper: Mapping[str, Any] | None = None, backbone: str = "viclip-tiny"
) -> pb.Recipe:
    """The recipe for a small backbone in `retrieval`.

    Args:
        rate: The learning rate that was found.
        searched: The learning rates that were tried, with seeds 3 and 4.
        hyper: The method's sizes for this backbone.
        backbone: The backbone.
    """
    source = (
        f"learning rate of {searched} with the best T2V R@1 on held-out training clips after the last epoch, mean of "
        "two draws of motion (seeds 3 and 4; the smaller one at a tie)"
    )
    return pb.Recipe("retrieval", backbone, {"learning_rate": rate, **_EPOCHS}, hyper or {}, source)


def not_tuned_in_retrieval(
    rate: float,
    hyper: Mapping[str, Any] | None = None,
    backbones: Sequence[str] = ("viclip-tiny", "clip-tiny"),
) -> list[pb.Recipe]:
    """The same values where they were not searched for, in `retrieval`: rates of base2novel on `viclip-tiny`, and of
    `viclip-tiny` on another backbone."""
    training = {"learning_rate": rate, **_EPOCHS}
    own = "learning rate of base2novel, not tuned for this setting"
    other = "learning rate of viclip-tiny, not tuned for this backbone"
    return [
        pb.Recipe("retrieval", name, training, hyper or {}, own if name == "viclip-tiny" else other, tuned=False)
        for name in backbones
    ]
