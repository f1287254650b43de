"""`PSRTrainer`, the trainer of the method in trainers/psr.py, under the older name."""

from trainers.decomposed_trainer import trainer_of
from trainers.psr import PSR

PSRTrainer = trainer_of(PSR)
