"""Action chunking: how predicted chunks become one action per control step."""

from forehand.control.chunking.asynchronous import Asynchronous
from forehand.control.chunking.chunks import Action, ActionChunker, Chunk, RecedingHorizon, TemporalEnsemble
from forehand.control.chunking.gripper import BinaryGripper, make_chunker
from forehand.control.chunking.rotations import RotationAverages

__all__ = [
    "Action",
    "ActionChunker",
    "Asynchronous",
    "BinaryGripper",
    "Chunk",
    "RecedingHorizon",
    "RotationAverages",
    "TemporalEnsemble",
    "make_chunker",
]
