"""Preemption: a cluster takes the computer away, and gives the job another one later."""

from __future__ import annotations

import os
import signal
import subprocess

from forehand.utils.signals import PREEMPTIONS


class Preempted(KeyboardInterrupt):
    """An interruption by a signal of :data:`forehand.utils.signals.PREEMPTIONS`: the same command is to go on later."""


def interrupted_by_preemption() -> None:
    """From here on, signals of preemption raise :class:`Preempted`, as Ctrl-C raises KeyboardInterrupt."""
    for number in PREEMPTIONS:
        signal.signal(number, _raise)


def _raise(number: int, frame: object) -> None:
    name = signal.Signals(number).name
    raise Preempted(f"{name}: stopped. The same command continues; that of a training with resume=true.")


def requeue() -> None:
    """Put the job into its queue again if SLURM wants its computer back; raises SystemExit where it does.

    For jobs of submitit that SIGTERM has ended. One that runs is preempted; one that is cancelled is in another state.
    """
    handler = next((h for number in PREEMPTIONS if callable(h := signal.getsignal(number)) and h is not _raise), None)
    if handler is None or (job := os.environ.get("SLURM_JOB_ID")) is None:
        return
    asked = ["scontrol", "show", "job", "--oneliner", job]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    if "JobState=RUNNING" in said.split():
        number = next(number for number in PREEMPTIONS if signal.getsignal(number) is handler)
        signal.raise_signal(number)
