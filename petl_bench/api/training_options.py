"""How a trial trains: declared options, without torch, so that a plan can be made and printed at once."""

from __future__ import annotations

from typing import Literal

from petl_bench.api.options import Options, hyper
from petl_bench.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16"]
Select = Literal["last", "val", "best-on-test"]
#: Training options that change no number: any of them gives the same one, up to rounding.
WITHOUT_EFFECT = ("processes", "threads", "bad_clips_allowed")


class TrainingOptions(Options):
    """Optimisation and evaluation of one trial.

    Resolution, the later one winning: these defaults, the setting, the method's recipe, the backbone, the method's
    recipe for that backbone, the command line.
    """

    name = "training"

    epochs: int = hyper(11, "passes over the training clips", minimum=0)
    batch_size: int = hyper(32, "clips per optimiser step", minimum=1)
    micro_batch_size: int | None = hyper(
        None, "clips per forward pass; less than batch_size accumulates gradients", minimum=1
    )
    optimizer: Literal["adamw", "sgd"] = hyper(
        "adamw", "AdamW, or stochastic gradient descent with momentum", later=True
    )
    momentum: float = hyper(0.9, "momentum of sgd", minimum=0.0, maximum=1.0, later=True)
    learning_rate: float = hyper(1e-3, "peak learning rate", minimum=0.0)
    weight_decay: float = hyper(1e-3, "decoupled weight decay, on weights of two or more dimensions", minimum=0.0)
    beta1: float = hyper(0.9, "AdamW's first moment decay", minimum=0.0, maximum=1.0)
    beta2: float = hyper(0.98, "AdamW's second moment decay", minimum=0.0, maximum=1.0)
    adam_epsilon: float = hyper(1e-8, "AdamW's epsilon", minimum=0.0)
    warmup_epochs: float = hyper(5.0, "epochs of linear warm-up from 0", minimum=0.0)
    final_lr_ratio: float = hyper(
        0.01, "learning rate at the end of the cosine, as a part of the peak", minimum=0.0, maximum=1.0
    )
    clip_grad_norm: float | None = hyper(None, "largest norm of the gradient; none: no clipping", minimum=0.0)
    precision: Precision = hyper("fp32", "fp32, or autocast to bf16 or fp16")
    compile: bool = hyper(
        False, "the video tower goes through torch.compile: the same numbers up to rounding, also after a stop"
    )
    checkpoint_blocks: bool = hyper(
        False,
        "blocks are computed again on the way back instead of kept (gradient checkpointing): less memory, more time, "
        "the same numbers, in fp32 to the bit",
        later=True,
    )
    select: Select = hyper(
        "last",
        "which epoch is evaluated: the last, the best on held-out training clips, or on the test clips (marked)",
    )
    val_fraction: float = hyper(0.25, "part of the training clips held out if select is val", minimum=0.0, maximum=0.9)
    train_views: Literal["augmented", "fixed"] = hyper(
        "augmented",
        "what is seen of a training clip: frames and augmentation drawn anew in every epoch; or always the centre view "
        "of the evaluation (a video tower that the method leaves alone then sees every clip once)",
    )
    frames_per_second: float | None = hyper(
        None,
        "frames are taken at this rate of a file's time, and of them the backbone's number evenly, the same ones in "
        "training and evaluation; none: among all frames, in training drawn anew in every epoch. A shorter clip is "
        "padded with masked frames; a backbone that encodes all frames together gets some of them several times",
        minimum=0.001,
        later=True,
    )
    eval_batch_size: int = hyper(32, "clips per forward pass in evaluation", minimum=1)
    eval_every: int = hyper(5, "epochs between evaluations if select is val or best-on-test", minimum=1)
    views: int = hyper(1, "temporal clips per test video", minimum=1)
    crops: Literal[1, 3] = hyper(1, "spatial crops per test view: the centre, or three along the longer side")
    view_sampling: Literal["uniform", "random", "middle"] = hyper(
        "uniform",
        "frames of several temporal clips: spread evenly over the video; or, as in published code, a random draw as in "
        "training (here seeded by the trial's seed and the clip). middle: one temporal clip, as ViCLIP's evaluation "
        "takes it",
    )
    eval_resize: Literal["crop", "squash"] = hyper(
        "crop",
        "frames in evaluation: resized by their short side and cropped; or, as in ViCLIP's evaluation, resized to the "
        "model's square whatever their shape",
        later=True,
    )
    processes: int = hyper(
        1, "processes that share every batch of this trial, one GPU each if there are GPUs", minimum=1
    )
    threads: int | None = hyper(
        None,
        "CPU threads of torch in this trial (they can change the last bits); none: the launcher's choice",
        minimum=1,
    )
    bad_clips_allowed: float = hyper(
        0.01, "part of the clips that may be unreadable before the trial fails", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eval_resize == "squash" and self.crops != 1:
            raise UsageError(f"training.eval_resize=squash shows whole frames: set training.crops=1, not {self.crops}")
        if self.view_sampling == "middle" and self.views != 1:
            raise UsageError(
                f"training.view_sampling=middle is one temporal clip: set training.views=1, not {self.views}"
            )
        if self.frames_per_second is not None:
            self._refuse_other_sampling()

    def _refuse_other_sampling(self) -> None:
        others = {"views": 1, "view_sampling": "uniform"}
        wrong = next((name for name, value in others.items() if getattr(self, name) != value), None)
        if wrong:
            raise UsageError(
                f"training.frames_per_second={self.frames_per_second:g} chooses the frames of one temporal clip: set "
                f"training.{wrong}={others[wrong]}, not {getattr(self, wrong)}, or training.frames_per_second=none"
            )
