"""Random numbers that depend on (seed, problem, sample, step) and on nothing else.

One Philox key per (seed, problem); its counter space is cut into blocks of `BLOCK_STEPS` steps, and inside a block the
samples lie one behind the other. So the numbers of any run of samples are one contiguous draw, and drawing 64 samples
at once, 2 x 32, or three of them alone gives the same numbers.
"""

import hashlib

import numpy as np

from sampling.sizes import BLOCK_STEPS

_COUNTERS = BLOCK_STEPS // 4  # one Philox counter yields four 64-bit words, one double takes one word
_SAMPLE_BITS = 40  # samples per problem and block: 2**40


def stream_key(seed: int, problem_id: str) -> int:
    """A 128-bit Philox key."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{problem_id}".encode()).digest()[:16], "little")


def uniforms(key: int, block: int, first_sample: int, count: int) -> np.ndarray:
    """Uniform doubles in [0, 1) of steps block*64 ... block*64+63 for `count` samples from `first_sample` on."""
    counter = ((block << _SAMPLE_BITS) + first_sample) * _COUNTERS
    return np.random.Generator(np.random.Philox(key=key, counter=counter)).random((count, BLOCK_STEPS))  # (count, 64)
