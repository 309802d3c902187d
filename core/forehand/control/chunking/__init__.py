"""Action chunking: how predicted chunks become one action per control step."""

from forehand.control.chunking.asynchronous import Asynchronous
from forehand.control.chunking.chunks import Action, ActionChunker, Chunk, RecedingHorizon, TemporalEnsemble
from forehand.control.chunking.gripper import BinaryGripper, make_chunker

__all__ = [
    "Action",
    "ActionChunker",
    "Asynchronous",
    "BinaryGripper",
    "Chunk",
    "RecedingHorizon",
    "TemporalEnsemble",
    "make_chunker",
]
