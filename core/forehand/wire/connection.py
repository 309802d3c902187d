"""The asking side: one request, one answer or one clear error, within the time allowed."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

from forehand.contract import Contract
from forehand.errors import ContractMismatch
from forehand.wire.convert import Payload, contract_from_payload, need
from forehand.wire.errors import (
    ConnectionLost,
    DeadlineExceeded,
    HelloRequired,
    ProtocolError,
    error_from_payload,
)
from forehand.wire.link import Link, LinkLost
from forehand.wire.messages import Message, decode, encode


class Role(NamedTuple):
    """A kind of endpoint: its name on the wire, its name for people, the command that starts one."""

    name: str
    title: str
    command: str


POLICY = Role("policy", "policy server", "forehand serve")
ROBOT = Role("robot", "robot host", "forehand robot")


class Connection:
    """A client's connection to the endpoint of ``role`` at ``address``.

    Made without a word on the network; :meth:`hello` or the first :meth:`request` connects. When it breaks, the request
    that waited raises :class:`ConnectionLost`, and the next one connects anew and says hello again. Threads may share
    a connection, one request at a time; who needs several at once makes several connections.
    """

    def __init__(self, address: str, role: Role, timeout: float, contract: Contract | None = None) -> None:
        """``timeout``: seconds for a request that states none; ``contract``: this side's, if the other shall compare."""
        self.address = address
        self.timeout = timeout
        self.facts: dict[str, Any] = {}
        self._role = role
        self._name = f"{role.title} at {address}"
        self._stated = None if contract is None else contract.to_dict()
        self._contract: Contract | None = None
        self._last_id = 0
        self._link: Link | None = None
        self._lock = threading.RLock()

    @property
    def contract(self) -> Contract:
        """What the other side said of itself in its hello."""
        return self._contract or self.hello()

    def hello(self, timeout: float | None = None) -> Contract:
        """Connect if need be, compare versions, and learn the other side's contract."""
        with self._lock:
            self._greeted(time.monotonic() + (self.timeout if timeout is None else timeout))
            assert self._contract is not None
            return self._contract

    def request(
        self, kind: str, payload: Payload, *, session: str | None = None, timeout: float | None = None
    ) -> Payload:
        """The result of one request. Raises what the other side answered, or what kept it from answering."""
        with self._lock:
            deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
            link = self._link
            if link is None or link.lost():
                link = self._greeted(deadline)
            try:
                return self._ask(link, kind, payload, session, deadline)
            except HelloRequired:  # it was restarted or forgot us, and did nothing of what was asked
                return self._ask(self._greeted(deadline), kind, payload, session, deadline)

    def close(self) -> None:
        """Let go of the socket; what is unsent is dropped. A later request connects again."""
        with self._lock:
            if self._link:
                self._link.close()
                self._link = None

    def _greeted(self, deadline: float) -> Link:
        """A link to the right kind of endpoint, which has said what it is."""
        if self._link is None or self._link.lost():
            self.close()
            self._link = Link(self.address)
        try:
            self._say_hello(self._link, deadline)
        except Exception:
            self.close()  # so that nothing is asked on a link whose other end is unknown
            raise
        return self._link

    def _say_hello(self, link: Link, deadline: float) -> None:
        if not link.wait_connected(deadline - time.monotonic()):
            raise ConnectionLost(
                f"No {self._name} answers. Is it running ({self._role.command}), and is the address right?"
            )
        answer = self._ask(link, "hello", {"contract": self._stated}, None, deadline)
        role = need(answer, "role", str)
        if role != self._role.name:
            raise ProtocolError(f"There is no {self._name}: what answers there serves a {role}. Give the other address.")
        contract = contract_from_payload(need(answer, "contract", dict))
        if self._contract is not None and contract != self._contract:
            raise ContractMismatch(
                f"The {self._name} came back with another contract than before, so nothing goes on.\n"
                f"  before: {self._contract}\n  now: {contract}\nStart anew with the contract it has now."
            )
        self._contract, self.facts = contract, need(answer, "facts", dict)

    def _ask(self, link: Link, kind: str, payload: Payload, session: str | None, deadline: float) -> Payload:
        budget = deadline - time.monotonic()
        if budget <= 0:
            raise self._too_late(kind)
        self._last_id += 1
        try:
            link.send(encode(Message(kind, self._last_id, payload, session, budget)))
            while (frames := link.receive(deadline - time.monotonic())) is not None:
                if (answer := self._read(decode(frames))) is not None:
                    return answer
        except LinkLost:
            self.close()
            raise ConnectionLost(
                f"The connection to the {self._name} was lost while {kind!r} waited for its answer: it was stopped, it "
                f"crashed, or the network failed. Start it again ({self._role.command}) and begin a new session."
            ) from None
        raise self._too_late(kind)

    def _read(self, answer: Message) -> Payload | None:
        """What answers the request that waits; None for the late answer to an earlier one, which was given up."""
        if answer.kind == "error" and answer.id in (self._last_id, 0):
            raise error_from_payload(answer.payload)
        return answer.payload if answer.kind == "result" and answer.id == self._last_id else None

    def _too_late(self, kind: str) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"The {self._name} did not answer {kind!r} in time. It is overloaded, slow or stuck: look at its log, "
            f"or allow more time (timeout=…)."
        )
