"""What a disk says when it refuses to be written to, and how much room it has. Nothing else is taken for its fault."""

import errno
import os
import re
import shutil
from pathlib import Path

from safetensors import SafetensorError

REFUSALS = tuple(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE")
)
# How libraries in Rust (safetensors, tokenizers) put it, the latter in a bare Exception.
RUST_ERROR = re.compile(r"\(os error (\d+)\)")
# What torch.save says: the system's reason when a file cannot be opened, and none when it cannot be filled.
TORCH_WRITER = re.compile(r"inline_container\.cc|iostream error")
TORCH_FILE_CUT = re.compile(r"unexpected pos|failed writing|iostream error")


def refusal(error: BaseException | None) -> str | None:
    """Why the disk refused, in the system's words ("No space left on device"); None for any other error.

    torch, safetensors and tokenizers raise errors of their own without an error number; their texts hold the system's.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno and error.errno in REFUSALS:
            return os.strerror(error.errno)
        text = str(error)
        rust = RUST_ERROR.search(text) if type(error) is Exception or isinstance(error, SafetensorError) else None
        if rust and int(rust[1]) in REFUSALS:
            return os.strerror(int(rust[1]))
        if isinstance(error, RuntimeError) and TORCH_WRITER.search(text):
            for number in REFUSALS:
                if os.strerror(number) in text:
                    return os.strerror(number)
            if TORCH_FILE_CUT.search(text):
                return "a file was cut short, as on a full disk"
        error = error.__cause__ or error.__context__
    return None


def room(folder: Path) -> str:
    """'12.3 MB free' on the disk of `folder`."""
    while not folder.exists():
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB free"
