"""Protocol adapters: servers for clients of other projects' protocols.

Each adapter implements one foreign protocol on top of a :class:`~forehand.wire.PolicyServer`: its requests wait in the
server's queue, are computed in the same batches, and have the same sessions, deadlines and errors. What the foreign
protocols lack is replaced: their sessions are connections, and a key map relates their keys to those of the contract.
None of them encrypts.
"""

from forehand.wire.adapters.adapter import ProtocolAdapter
from forehand.wire.adapters.key_map import KeyMap

__all__ = ["KeyMap", "ProtocolAdapter"]
