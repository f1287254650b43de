"""What --resume unpickles, looked through before it is unpickled.

transformers keeps optimiser, schedule, scaler and random states as pickles and reads them with `weights_only=True`,
which builds tensors and numbers and runs nothing else. Here the same is asked of a checkpoint before a model is loaded,
so that a foreign one is named and passed over. DeepSpeed reads its own shards (global_step*/) without that restriction:
a checkpoint of it must be trusted like a program.
"""

from pathlib import Path

from models.weights import ADAPTER, MODEL

READ_ON_RESUME = ("optimizer*.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth")


def foreign(checkpoint: Path) -> str | None:
    """What in this checkpoint transformers has not written, in a few words; None when there is nothing of the kind."""
    from torch.serialization import get_unsafe_globals_in_checkpoint
    from transformers.trainer_pt_utils import safe_globals

    for path in sorted(path for pattern in READ_ON_RESUME for path in checkpoint.glob(pattern)):
        try:
            with safe_globals():
                found = get_unsafe_globals_in_checkpoint(path)
        except Exception:  # what is wrong with a file that is no archive of PyTorch has no common base class
            return f"{path.name} is no file of PyTorch"
        if found:
            return f"{path.name} would run {found[0]}, which no checkpoint needs"
    if not any((checkpoint / name).is_file() for name in (ADAPTER, MODEL, f"{MODEL}.index.json")):
        return "it holds no safetensors weights, and pickled ones are never read"
    return None
