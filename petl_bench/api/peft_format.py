"""How a method's adapter is said in the terms of Hugging Face PEFT. Without torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PeftFormat:
    """What `adapter_config.json` and `adapter_model.safetensors` of a PEFT tuner mean to a method, and back.

    For methods that replace the linear maps named by their options `targets` (of q, k, v, out, fc, proj) and `towers`.

    Args:
        peft_type: The tuner, e.g. "LORA".
        fields: Fields of the configuration -> options of the method with the same meaning.
        tensors: Names of tensors behind the name of a linear -> names in the module that replaces it.
        constants: Fields that tell this method from others of the same tuner, with their values; absent ones are False.
        training_only: Options that change nothing of what a trained adapter computes. One that is neither here nor in
            `fields`, and not at its default, has no form in PEFT.
    """

    peft_type: str
    fields: Mapping[str, str]
    tensors: Mapping[str, str]
    constants: Mapping[str, Any] = field(default_factory=dict)
    training_only: Collection[str] = ()
