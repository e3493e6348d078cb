"""What is known of each type of PEFT's tuners here: found by measurement with PEFT 0.21.2, and checked by the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tuner:
    """A type that works on separate linears.

    Attributes:
        meaning: in one line.
        paper: where the method was published, as far as PEFT's sources say.
        identity, mergeable: declarations of the method, at the default values.
        targets: the linears that are adapted by default.
        defaults: that differ from PEFT's; `note` says why.
        choices: the values of a field that PEFT types as a text.
        refused: field -> values that cannot be used, with the reason.
        instead: a field that, if it is not 0, sets another one to 0, since PEFT takes one of both.
        among_targets: fields that list some of the targets.
        small: sizes that fit backbones whose widths are a few dozen channels.
        fails: checks that it fails (petl-bench check), with the fault: it is not run.
        known: as `fails`, but the fault is none of a training's: it is run.
        note: what a user must know besides.
    """

    meaning: str
    paper: str = ""
    identity: bool = True
    mergeable: bool = True
    targets: tuple[str, ...] = ("q", "v")
    defaults: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    refused: Mapping[str, Mapping[Any, str]] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    among_targets: tuple[str, ...] = ()
    small: Mapping[str, Any] = field(default_factory=dict)
    fails: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


_ARXIV = "https://arxiv.org/abs/"
_CHANGES_BASE = "it changes the backbone's frozen weights; an adapter must leave them as they are"

TUNERS: dict[str, Tuner] = {
    "BEFT": Tuner("a trained vector on the output of the linear", _ARXIV + "2509.15974"),
    "BOFT": Tuner(
        "rotation of the weight by butterfly-factorised orthogonal matrices",
        _ARXIV + "2311.06243",
        instead={"boft_block_num": "boft_block_size"},
        note="where nvcc and ninja are installed, PEFT compiles a CUDA kernel for it when it is first used",
    ),
    "C3A": Tuner(
        "block-circular convolution beside the linear", _ARXIV + "2407.19342", identity=False, small={"block_size": 16}
    ),
    "DEFT": Tuner("removes a low-rank subspace of the weight, and puts another content in"),
    "DELORA": Tuner("low-rank update with normalised rank-one parts and a trained strength", _ARXIV + "2503.18225"),
    "FOURIERFT": Tuner(
        "update with a few trained Fourier coefficients",
        _ARXIV + "2405.03003",
        identity=False,
        small={"n_frequency": 100},
        note="its coefficients are random at the start; init_weights=true starts at zero",
    ),
    "FROD": Tuner(
        "sparse trained rotation in a basis shared by the linears of one kind",
        note="PEFT computes its basis from the weights on the CPU, which takes some 20 s for a B/16",
    ),
    "GLORA": Tuner(
        "low-rank scaling and shift of weight and bias",
        _ARXIV + "2306.07967",
        known={
            "gradients reach every parameter": "its D scales the bias of the linear, and the small models of the check "
            "have biases of 0; published weights do not"
        },
    ),
    "GRALORA": Tuner("LoRA on the blocks of the weight", _ARXIV + "2505.20355", small={"r": 8, "alpha": 16}),
    "HIRA": Tuner(
        "the weight times a low-rank matrix, element by element",
        "https://openreview.net/forum?id=TwJrTz9cRS",
        small={"r": 8},
    ),
    "HRA": Tuner(
        "product of trained Householder reflections; r is even",
        _ARXIV + "2405.17484",
        refused={"apply_GS": {True: "its vectors start in equal pairs, and Gram-Schmidt makes them not finite"}},
    ),
    "IA3": Tuner(
        "scales outputs of k and v, and the input of proj",
        _ARXIV + "2205.05638",
        targets=("k", "v", "proj"),
        defaults={"feedforward_modules": ("proj",)},
        among_targets=("feedforward_modules",),
        note="the places are the paper's; PEFT knows them only for language models",
    ),
    "LILY": Tuner(
        "low-rank updates whose parts are shared between blocks, with a router",
        _ARXIV + "2407.09946",
        mergeable=False,
        small={"r": 8},
        fails={
            "batch changes nothing": "its router averages over the tokens of the whole batch, so that the features of "
            "a clip depend on the clips beside it"
        },
    ),
    "LOHA": Tuner("product of two low-rank matrices, element by element", _ARXIV + "2108.06098"),
    "LOKR": Tuner("Kronecker product of a small and a low-rank matrix", _ARXIV + "2309.14859"),
    "LORA": Tuner(
        "low-rank update",
        _ARXIV + "2106.09685",
        refused={
            "init_lora_weights": {
                "eva": "it needs activations of the training clips, which PEFT gathers with a data loader of its own",
                "corda": "it needs covariances of activations, which PEFT gathers with a data loader of its own",
                "olora": _CHANGES_BASE,
                "pissa": _CHANGES_BASE,
                "pissa_niter_[number of iters]": _CHANGES_BASE,
                "loftq": "it quantises the backbone's weights",
            }
        },
    ),
    "MISS": Tuner("update with rows shared between shards of the weight", _ARXIV + "2409.15371", small={"r": 8}),
    "OFT": Tuner(
        "rotation of blocks of the input by trained orthogonal matrices",
        _ARXIV + "2306.07280",
        instead={"r": "oft_block_size"},
        small={"oft_block_size": 16},
    ),
    "OSF": Tuner("the directions of the weight with small singular values", _ARXIV + "2504.07097"),
    "PEANUT": Tuner("update computed from the weight by a small network", _ARXIV + "2410.01870", small={"r": 8}),
    "PSOFT": Tuner(
        "rotation inside the principal subspace of the weight",
        "https://openreview.net/forum?id=FSHrinMArK",
        small={"r": 8},
    ),
    "PVERA": Tuner(
        "VeRA with a distribution in the place of its vector",
        _ARXIV + "2512.07703",
        refused={"sample_at_inference": {True: "an evaluation would be another one each time"}},
        small={"r": 8},
    ),
    "RANDLORA": Tuner("trained mixtures of frozen random matrices", _ARXIV + "2502.00987", small={"r": 8}),
    "ROAD": Tuner(
        "rotation and scaling of pairs of outputs",
        _ARXIV + "2409.00119",
        choices={"variant": ("road_1", "road_2", "road_4")},
        small={"group_size": 16},
    ),
    "SHIRA": Tuner(
        "a sparse set of entries of the weight",
        _ARXIV + "2406.13175",
        defaults={"random_seed": 0},
        refused={"random_seed": {None: "a loaded adapter would change other entries than those that were trained"}},
        small={"r": 8},
        note="random_seed is 0, and not PEFT's none: which entries train must be known when the adapter is loaded",
    ),
    "SUPERTUNING": Tuner("the entries of the weight with the largest size", _ARXIV + "2607.09287"),
    "TINYLORA": Tuner(
        "a few numbers in frozen random directions",
        _ARXIV + "2602.04118",
        refused={"init_weights": {False: "PEFT leaves the numbers uninitialised"}},
    ),
    "UNILORA": Tuner(
        "low-rank updates whose entries are all taken from one short vector", _ARXIV + "2506.00799", identity=False
    ),
    "VBLORA": Tuner(
        "low-rank updates mixed from one bank of vectors",
        _ARXIV + "2405.15179",
        identity=False,
        small={"vector_length": 16, "num_vectors": 32},
    ),
    "VERA": Tuner("trained scales around frozen random matrices that all linears share", _ARXIV + "2310.11454"),
    "WAVEFT": Tuner(
        "update with a few trained wavelet coefficients", _ARXIV + "2505.12532", small={"n_frequency": 100}
    ),
}

_PROMPTS = "it puts trained tokens in front of a language model's input; the methods coop and vpt are for prompts"
#: The types that cannot be used, and why.
REFUSED: dict[str, str] = {
    "ADALORA": "its ranks are set anew in every step by a call that PEFT leaves to the training loop "
    "(update_and_allocate); without it, it would be another method",
    "ADAMSS": "it clusters the frozen weights with scikit-learn, so that the number of its parameters is known only "
    "after that",
    "ADAPTION_PROMPT": _PROMPTS,
    "CARTRIDGE": _PROMPTS,
    "CPT": _PROMPTS,
    "LN_TUNING": "it trains norms, not linears; use the method ln_tuning",
    "MULTITASK_PROMPT_TUNING": _PROMPTS,
    "POLY": "it chooses among skills by the id of a task, which a clip does not have",
    "PREFIX_TUNING": _PROMPTS,
    "PROMPT_TUNING": _PROMPTS,
    "P_TUNING": _PROMPTS,
    "SHADOW": "it wraps whole blocks of a language model in a second one",
    "TRAINABLE_TOKENS": "it trains rows of the table of tokens, not linears",
    "XLORA": "it mixes LoRA adapters that are trained before",
}

_ENGINE = "petl-bench sets it"
_PLACES = "say which linears with peft:TYPE.targets, and which towers with peft:TYPE.towers"
_EVERY_BLOCK = "every block of the towers is adapted"
_SAVED = "what is saved with the adapter is decided by petl-bench"
_NOT_SAID = "its value is no number, text or list of these"
#: Fields of PEFT's that are not offered, and why.
LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(("task_type", "peft_type", "inference_mode", "auto_mapping", "peft_version"), _ENGINE),
    **dict.fromkeys(("base_model_name_or_path", "revision", "progressbar"), _ENGINE),
    **dict.fromkeys(("target_modules", "exclude_modules", "target_parameters"), _PLACES),
    **dict.fromkeys(("layers_to_transform", "layers_pattern", "layer_replication"), _EVERY_BLOCK),
    **dict.fromkeys(("modules_to_save", "trainable_token_indices"), "nothing but the chosen linears is adapted"),
    "ensure_weight_tying": "no weights of the backbone are tied",
    "bias": "biases of the backbone stay frozen; the method bitfit trains them",
    "fan_in_fan_out": "the weights of the linears are [out, in]",
    "use_effective_conv2d": "there are no convolutions among the linears",
    **dict.fromkeys(("megatron_config", "megatron_core"), "the linears are no Megatron layers"),
    **dict.fromkeys(("save_projection", "save_only_topk_weights", "save_precomputed_indices", "save_indices"), _SAVED),
    **dict.fromkeys(("runtime_config", "runtime_offload_base_weight"), "weights stay on the device of the model"),
    **dict.fromkeys(("use_qalora", "qalora_group_size"), "the weights are not quantised"),
    "boft_n_butterfly_factor": "PEFT honours it only if its CUDA kernel compiles, and is 1 otherwise, without an error",
    "generator_seed": "the state of its generator is in no checkpoint; the trial's seed draws the noise",
    "alora_invocation_tokens": "it is for generated text",
}


def why_left_out(name: str) -> str:
    """Why a field of PEFT's is not offered."""
    return LEFT_OUT.get(name, _NOT_SAID)
