"""Suites with the interface of LIBERO's: any name, ten tasks, fifty initial states each."""

import numpy as np


class Suite:
    n_tasks = 10

    def __init__(self, name):
        self.name = name

    def get_task_bddl_file_path(self, index):
        return f"{self.name}/{index}"

    def get_task_init_states(self, index):
        """Time, end effector and target."""
        states = np.random.RandomState(index).uniform(-0.2, 0.2, (50, 7))
        states[:, 0] = np.arange(50)
        return states


def get_benchmark(name):
    return lambda task_order_index=0: Suite(name)
