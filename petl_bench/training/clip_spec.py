"""How the clips of a trial are read, as its options and its backbone say."""

from __future__ import annotations

from petl_bench.api.backbone import Backbone
from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.training_options import TrainingOptions
from petl_bench.data.loading.clip_preparation import ClipSpec
from petl_bench.models.dual_encoder import DualEncoder


def evaluated_clips(
    model: DualEncoder, backbone: Backbone, options: TrainingOptions, *, seed: int, decoder: str
) -> ClipSpec:
    """How clips are read in evaluation; training adds its augmentation.

    Args:
        model: Decides how many frames, of which size, and whether missing ones can be masked.
        backbone: Decides the normalisation.
        options: Views, frames per second, resizing.
        seed: Of random views.
        decoder: Its name, or "auto".
    """
    return clips_for(model.config, backbone, options, seed=seed, decoder=decoder)


def clips_for(
    config: ViCLIPConfig, backbone: Backbone, options: TrainingOptions, *, seed: int, decoder: str
) -> ClipSpec:
    """As `evaluated_clips`, for a model of this configuration."""
    rate = options.frames_per_second
    mean, std = backbone.normalised_with()
    return ClipSpec(
        num_frames=config.num_frames,
        size=config.image_size,
        mean=mean,
        std=std,
        seed=seed,
        views=options.views,
        crops=options.crops,
        view_sampling=options.view_sampling,
        eval_resize=options.eval_resize,
        frames_per_second=rate,
        pads=rate is not None and not config.joint_space_time,
        decoder=decoder,
    )
