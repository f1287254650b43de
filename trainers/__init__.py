"""METHODS, the table of methods by the name that --mode gives them; their trainers are in trainers/trainer.py.

A method is one file beside this one: a subclass of `trainers.method.Method` with its formula in the docstring, its
weights, its options, its log line, its style, and what else is particular to it. To add one, write that file and name
its class here; flags, checks, log, early warnings, reward check and figures follow from it. docs/methods.md tells more.
"""

from trainers.asymre import AsymRE
from trainers.cw_nsr import CWNSR
from trainers.ds_grpo import DSGRPO
from trainers.f_grpo import FGRPO
from trainers.grpo import GRPO
from trainers.maxrl import MaxRL
from trainers.method import Method
from trainers.ngrpo import NGRPO
from trainers.nsr import NSR
from trainers.own_advantage import OwnAdvantage
from trainers.passk import PassK
from trainers.psr import PSR
from trainers.w_reinforce import WReinforce

_ORDER = (GRPO, PSR, NSR, WReinforce, MaxRL, PassK, NGRPO, CWNSR, DSGRPO, FGRPO, AsymRE, OwnAdvantage)
METHODS: dict[str, type[Method]] = {method.name: method for method in _ORDER}


def method_options() -> dict[str, list[type[Method]]]:
    """Name of every option that some methods have -> those methods; of one name, they share its meaning and default."""
    names = dict.fromkeys(name for method in METHODS.values() for name in method.options())
    return {name: [method for method in METHODS.values() if name in method.options()] for name in names}
