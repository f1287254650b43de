"""Sizes of decoding that the formulas of its memory (update/rollout_memory.py) count with too, without PyTorch."""

PASS_TOKENS = 8192  # of one prefill, padding included, so that what it needs beside keys and values stays bounded
FIRST_ROOM = 32  # completion tokens a row has room for at first; the room doubles
FIXED_ROOM = 64  # the same in steps of fixed shape
KEPT_SHARE = 1 / 8  # of a GPU's memory; more than that is not kept from one call to the next
MIN_ROWS = 8  # that are decoded at a time
BLOCK_STEPS = 64  # steps whose random numbers are drawn together


def prompt_room(longest: int) -> int:
    """256, 512, 768, 1024, then in quarters of a power of two."""
    step = max(256, 2 ** (longest - 1).bit_length() // 8)
    return -(-longest // step) * step
