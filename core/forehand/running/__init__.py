"""Running a robot: the control loop in real time, and what it reports."""

from forehand.control.watchdog_robot import WatchdogRobot
from forehand.running.control_loop import ControlLoop, EpisodeEnd, PolicyUnavailable
from forehand.running.inference import Inference
from forehand.running.observers import BackgroundObserver, StepObserver
from forehand.running.rate import Rate
from forehand.running.report import Report
from forehand.running.rerun_viewer import open_rerun

__all__ = [
    "BackgroundObserver",
    "ControlLoop",
    "EpisodeEnd",
    "Inference",
    "PolicyUnavailable",
    "Rate",
    "Report",
    "StepObserver",
    "WatchdogRobot",
    "open_rerun",
]
