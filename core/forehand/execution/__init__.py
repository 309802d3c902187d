"""How predicted chunks become one action for every control step."""

from forehand.execution.asynchronous import Asynchronous
from forehand.execution.chunks import Action, Chunk, Execution, RecedingHorizon, TemporalEnsemble
from forehand.execution.gripper import BinaryGripper, make_execution

__all__ = [
    "Action",
    "Asynchronous",
    "BinaryGripper",
    "Chunk",
    "Execution",
    "RecedingHorizon",
    "TemporalEnsemble",
    "make_execution",
]
