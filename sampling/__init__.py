"""Prompt -> many completions, fast; and the journal that survives a crash."""
