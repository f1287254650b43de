"""Completions to rewards: plain functions with TRL's reward signature, each in [0, 1], None where gold is missing."""

from rewards.presets import PRESETS, Reward, build_rewards

__all__ = ["PRESETS", "Reward", "build_rewards"]
