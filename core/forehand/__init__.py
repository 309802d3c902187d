"""Forehand: robot policies that look before they act.

Importing this package needs numpy, pluggy, pyzmq and msgpack, and never torch: a robot's computer runs it as it is.
"""

from forehand.contract import Camera, Contract, Field, Mismatch
from forehand.hookspecs import hookimpl
from forehand.policy import Policy, Prediction, Session
from forehand.registry import Registry, registry
from forehand.robot import Benchmark, Episode, Exhibit, Expert, Observation, Robot

__version__ = "0.1.0"

__all__ = [
    "Benchmark",
    "Camera",
    "Contract",
    "Episode",
    "Exhibit",
    "Expert",
    "Field",
    "Mismatch",
    "Observation",
    "Policy",
    "Prediction",
    "Registry",
    "Robot",
    "Session",
    "hookimpl",
    "registry",
]
