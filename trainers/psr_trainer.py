"""`PSRTrainer`, the trainer of the method in trainers/psr.py, under the older name."""

from trainers.psr import PSR
from trainers.trainer import trainer_of

PSRTrainer = trainer_of(PSR)
