"""Front doors: clients of other projects' policy servers, let in to ours.

Each door speaks one foreign protocol and asks the same :class:`~forehand.wire.PolicyServer` as everybody: what comes
through it waits in the same queue, is computed in the same batches, and has sessions, deadlines and errors like ours.
What the foreign protocols lack is made up for: their sessions are connections, and a configuration says which of their
keys is which of ours. None of them encrypts.
"""

from forehand.wire.doors.door import Door
from forehand.wire.doors.keys import Keys

__all__ = ["Door", "Keys"]
