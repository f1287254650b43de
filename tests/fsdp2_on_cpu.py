"""main.py under FSDP2 on CPUs, run by test_several_machines.py: accelerate applies FSDP on GPUs alone, and is told here
that these processes have some."""

import sys

from accelerate.state import DistributedType, PartialState

import main


def as_if_on_gpus(start=PartialState.__init__):
    def start_as_if(self, *args, **kwargs):
        start(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    return start_as_if


if __name__ == "__main__":
    PartialState.__init__ = as_if_on_gpus()
    sys.exit(main.main())
