"""The asking side: one request, one answer or one clear error, within the time allowed."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, NamedTuple

from forehand.contract import Contract
from forehand.errors import ConfigurationError, ContractMismatch
from forehand.wire.clients import SILENCE
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
from forehand.wire.pictures import AVAILABLE

HEARTBEAT = 0.5
"""Seconds of silence after which a client sends a sign of life, and promises to."""


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

    While nothing is asked, a thread sends heartbeats, so that each side knows when the other is gone: :attr:`alive`.
    """

    def __init__(
        self, address: str, role: Role, timeout: float, contract: Contract | None = None, jpeg: int | None = None
    ) -> None:
        """``timeout``: seconds for a request that states none; ``contract``: this side's, if the other shall compare.

        ``jpeg``: quality, 1 to 100, of the pictures in both directions; None sends them as they are.
        """
        if jpeg is not None and not AVAILABLE:
            raise ConfigurationError("jpeg needs a package that is not installed: pip install 'forehand[jpeg]'")
        self._jpeg = jpeg
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
        self._unanswered: float | None = None  # since when the other side owes us any word
        self._last_sent = 0.0
        self._beating: threading.Event | None = None

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

    @property
    def alive(self) -> bool:
        """Whether the other side is there, as far as heartbeats tell."""
        return self._link is not None

    def close(self) -> None:
        """Let go of the socket; what is unsent is dropped. A later request connects again."""
        with self._lock:
            if self._beating:
                self._beating.set()
                self._beating = None
            self._drop()

    def _greeted(self, deadline: float) -> Link:
        """A link to the right kind of endpoint, which has said what it is."""
        if self._link is None or self._link.lost():
            self._drop()
            self._link = Link(self.address)
        try:
            self._say_hello(self._link, deadline)
        except Exception:
            self._drop()  # so that nothing is asked on a link whose other end is unknown
            raise
        if self._beating is None:
            self._beating = threading.Event()
            threading.Thread(target=_beat, args=(weakref.ref(self), self._beating), daemon=True).start()
        return self._link

    def _drop(self) -> None:
        self._unanswered = None
        if self._link:
            self._link.close()
            self._link = None

    def _say_hello(self, link: Link, deadline: float) -> None:
        if not link.wait_connected(deadline - time.monotonic()):
            raise ConnectionLost(
                f"No {self._name} answers. Is it running ({self._role.command}), and is the address right?"
            )
        wanted = {} if self._jpeg is None else {"jpeg": self._jpeg}
        answer = self._ask(link, "hello", {"contract": self._stated, "heartbeat": HEARTBEAT, **wanted}, None, deadline)
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
        try:
            asked = self._send(link, kind, payload, session, budget)
            while (left := deadline - time.monotonic()) > 0:
                frames = link.receive(min(left, HEARTBEAT))
                if frames is None:
                    self._knock(link)
                    continue
                self._unanswered = None
                if (answer := _read(decode(frames), asked)) is not None:
                    return answer
        except LinkLost:
            self._drop()
            raise ConnectionLost(
                f"The connection to the {self._name} was lost while {kind!r} waited for its answer: it was stopped, it "
                f"crashed, or the network failed. Start it again ({self._role.command}) and begin a new session."
            ) from None
        raise self._too_late(kind)

    def _send(self, link: Link, kind: str, payload: Payload, session: str | None, budget: float) -> int:
        """Its id."""
        self._last_id += 1
        frames = encode(Message(kind, self._last_id, payload, session, budget), self._jpeg)
        self._last_sent = time.monotonic()
        if self._unanswered is None:
            self._unanswered = self._last_sent
        link.send(frames)
        return self._last_id

    def _knock(self, link: Link) -> None:
        """Ask for a sign of life, if it is time; raises :class:`LinkLost` when none has come for too long."""
        now = time.monotonic()
        if self._unanswered is not None and now - self._unanswered > SILENCE:
            raise LinkLost
        if now - self._last_sent >= HEARTBEAT:
            self._send(link, "ping", {}, None, SILENCE)

    def beat(self) -> None:
        """Knock, and hear the answers, unless a request is under way, which does so itself."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if (link := self._link) is None:
                return
            while link.receive(0.0) is not None:
                self._unanswered = None
            self._knock(link)
        except LinkLost:
            self._drop()
        finally:
            self._lock.release()

    def _too_late(self, kind: str) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"The {self._name} did not answer {kind!r} in time. It is overloaded, slow or stuck: look at its log, "
            f"or allow more time (timeout=…)."
        )


def _read(answer: Message, asked: int) -> Payload | None:
    """What answers the request ``asked``; None for a heartbeat's, or a late one to a request that was given up."""
    if answer.kind == "error" and answer.id in (asked, 0):
        raise error_from_payload(answer.payload)
    return answer.payload if answer.kind == "result" and answer.id == asked else None


def _beat(reference: weakref.ref[Connection], closed: threading.Event) -> None:
    """Knock for a connection until it is closed or forgotten."""
    while not closed.wait(HEARTBEAT / 2):
        connection = reference()
        if connection is None:
            return
        connection.beat()
        del connection
