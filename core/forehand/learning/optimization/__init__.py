"""Optimization: schedules of the learning rate, optimizers, numeric precision, averages of weights, recomputation."""
