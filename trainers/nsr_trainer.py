"""`NSRTrainer`, the trainer of the method in trainers/nsr.py, under the older name."""

from trainers.decomposed_trainer import trainer_of
from trainers.nsr import NSR

NSRTrainer = trainer_of(NSR)
