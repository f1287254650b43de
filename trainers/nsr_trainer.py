"""`NSRTrainer`, the trainer of the method in trainers/nsr.py, under the older name."""

from trainers.nsr import NSR
from trainers.trainer import trainer_of

NSRTrainer = trainer_of(NSR)
