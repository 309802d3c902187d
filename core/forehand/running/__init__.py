"""Running a robot: the control loop in real time, and what it reports."""

from forehand.running.drive import Drive, Ending, PolicyLost
from forehand.running.inference import Inference
from forehand.running.live import live_view
from forehand.running.pace import Pace
from forehand.running.report import Report
from forehand.running.watched_robot import WatchedRobot
from forehand.running.watching import Beside, Watcher

__all__ = [
    "Beside",
    "Drive",
    "Ending",
    "Inference",
    "Pace",
    "PolicyLost",
    "Report",
    "WatchedRobot",
    "Watcher",
    "live_view",
]
