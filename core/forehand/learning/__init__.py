"""Learning: the trainer, its recipe and run folder, checkpoints, and pretrained weights."""
