"""How the modes differ, and nothing else: one class per mode, TRAINERS by the name of the mode."""


def __getattr__(name):
    # On first use, so that trainers.advantages can be imported without TRL.
    if name != "TRAINERS":
        raise AttributeError(f"module 'trainers' has no attribute {name!r}")
    from trainers.decomposed_trainer import DecomposedTrainer
    from trainers.nsr_trainer import NSRTrainer
    from trainers.psr_trainer import PSRTrainer
    from trainers.w_reinforce_trainer import WReinforceTrainer

    return {"grpo": DecomposedTrainer, "psr": PSRTrainer, "nsr": NSRTrainer, "w-reinforce": WReinforceTrainer}
