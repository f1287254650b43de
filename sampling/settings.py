"""The numbers that fix a sampling distribution and its random streams."""

import math
from dataclasses import dataclass

from settings.table import LEAST_TEMPERATURE

WITHOUT_IMAGE = ("mask", "remove")  # see models.inputs.blind


@dataclass(frozen=True)
class SamplingSettings:
    """Temperature, then top-k, then top-p, in transformers' order; `top_k` 0 and `top_p` 1 switch those two off."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 768
    seed: int = 2025

    def __post_init__(self) -> None:
        if not LEAST_TEMPERATURE <= self.temperature < math.inf:
            raise ValueError(
                f"temperature must be at least {LEAST_TEMPERATURE:g} and finite, got {self.temperature}; for greedy "
                "decoding use --top-k 1"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top-p must lie in (0, 1], got {self.top_p}; 1 switches it off")
        if self.top_k < 0:
            raise ValueError(f"top-k must be 0 (off) or more, got {self.top_k}")
        if self.max_new_tokens < 1:
            raise ValueError(f"max-new-tokens must be at least 1, got {self.max_new_tokens}")
