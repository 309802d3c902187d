"""Loggers of trainings: TensorBoard, Weights & Biases, trackio."""
