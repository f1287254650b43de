"""How much of a machine's own memory a run takes, beside its GPUs'."""

from __future__ import annotations

from update.memory import Counts, Work

PROCESS = 3e9  # bytes of a training process: PyTorch, CUDA, data


def host_memory(counts: Counts, work: Work) -> float:
    """Bytes on the host of all processes together, were they on one machine.

    Weights are read there before they move to the GPU, but for a base in 4 bits, whose weights move one by one. With
    the optimiser on the host (DeepSpeed ZeRO-2) each trained parameter has, once over all processes, a float32 value, a
    float32 gradient, the optimiser's states, and low-precision copies of value and gradient on their way. On a CPU
    everything is there anyway: the line of the device says it.
    """
    reading = 0 if work.base_4bit else work.processes * counts.total * work.weight_bytes
    stays = (4 + 4 + 4 * work.moments + 2 * work.compute_bytes) * counts.trained if work.offload else 0
    return work.processes * PROCESS + max(reading, stays)
