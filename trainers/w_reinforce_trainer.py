"""`WReinforceTrainer`, the trainer of the method in trainers/w_reinforce.py, under the older name."""

from trainers.trainer import trainer_of
from trainers.w_reinforce import WReinforce

WReinforceTrainer = trainer_of(WReinforce)
