"""Forehand: robot policies that look before they act.

Importing this package needs numpy, pluggy, pyzmq and msgpack, and never torch: a robot's computer runs it as it is.
"""

from forehand.benchmark import Benchmark, Expert
from forehand.contracts.compatibility import Mismatch
from forehand.contracts.contract import Camera, Contract, Field
from forehand.contracts.sensor import Sensor
from forehand.hookspecs import hookimpl
from forehand.plugins import registry
from forehand.policy import Forecast, Policy, Prediction, Session
from forehand.registry import Registry
from forehand.robot import Episode, Observation, Robot
from forehand.showcase import Showcase

__version__ = "0.1.0"

__all__ = [
    "Benchmark",
    "Camera",
    "Contract",
    "Episode",
    "Expert",
    "Field",
    "Forecast",
    "Mismatch",
    "Observation",
    "Policy",
    "Prediction",
    "Registry",
    "Robot",
    "Sensor",
    "Session",
    "Showcase",
    "hookimpl",
    "registry",
]
