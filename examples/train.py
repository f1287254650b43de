"""Train from Python: `tiny` with NSR on eight synthetic charts. Run as `python -m examples.train`."""

import torch
from trl import GRPOConfig

from charts.loading import load_questions
from models.registry import load_model, load_processor, unsampleable_token_ids
from rewards import build_rewards
from trainers.nsr_trainer import NSRTrainer
from training.rows import training_rows


def main(folder: str = "example_run", updates: int = 4) -> NSRTrainer:
    """Trains every weight for some updates of four completions, saves the model in `folder`, returns the trainer."""
    questions = {one.id: one for one in load_questions("synthetic", subset_size=8).questions}
    rewards = build_rewards("accuracy", questions)
    model, processor = load_model("tiny"), load_processor("tiny")
    limits = {"min_pixels": 3136, "max_pixels": 401408}
    rows = training_rows(list(questions), questions, processor, prompt="structured", **limits)
    config = GRPOConfig(
        folder, num_generations=4, per_device_train_batch_size=4, max_steps=updates, max_completion_length=192,
        learning_rate=1e-5, bf16=torch.cuda.is_available(), reward_weights=[reward.weight for reward in rewards],
        report_to="none", generation_kwargs={"suppress_tokens": unsampleable_token_ids(model.config, processor)},
    )  # fmt: skip
    trainer = NSRTrainer(
        model=model, reward_funcs=[reward.function for reward in rewards], args=config, train_dataset=rows,
        processing_class=processor,
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    return trainer


if __name__ == "__main__":
    main()
