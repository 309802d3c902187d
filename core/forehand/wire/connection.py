"""Client connection: one request, one reply or error, within a timeout."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, NamedTuple

from forehand.contracts.contract import Contract
from forehand.errors import (
    ConfigurationError,
    ConnectionLost,
    ContractMismatch,
    DeadlineExceeded,
    HelloRequired,
    ProtocolError,
)
from forehand.utils.clock import RemoteClock, clock
from forehand.utils.numbers import count, positive
from forehand.wire.clients import HEARTBEAT_TIMEOUT
from forehand.wire.errors import error_from_payload
from forehand.wire.jpeg import AVAILABLE
from forehand.wire.link import Link, LinkLost
from forehand.wire.messages import Message, decode, encode
from forehand.wire.serialize import Payload, contract_from_payload, require

HEARTBEAT = 0.5
"""Seconds of silence after which a client sends a sign of life, and promises to."""

ANSWER = 0.1
"""Seconds before its end within which a motion does not begin any more, so that the refusal still arrives in time."""


class Role(NamedTuple):
    """A kind of endpoint: its name on the wire, its name for people, the command that starts one."""

    name: str
    title: str
    command: str


POLICY = Role("policy", "policy server", "forehand serve")
ROBOT = Role("robot", "robot host", "forehand robot")


class Connection:
    """A client's connection to the endpoint of ``role`` at ``address``.

    Nothing is sent when it is made; :meth:`hello` or the first :meth:`request` connects. When it breaks, the request
    that waited raises :class:`ConnectionLost`, and the next one connects anew and says hello again. Threads may share
    a connection, one request at a time.

    Between requests a thread sends heartbeats, by which each side detects the loss of the other: :attr:`alive`.
    """

    def __init__(
        self,
        address: str,
        role: Role,
        timeout: float,
        contract: Contract | None = None,
        jpeg: int | None = None,
        silence: float = HEARTBEAT_TIMEOUT,
    ) -> None:
        """``timeout``: seconds for a request that states none; ``contract``: this side's, if the other shall compare.

        ``jpeg``: quality, 1 to 100, of the pictures in both directions; None sends them as they are. ``silence``: seconds
        after which a side that owes an answer or a heartbeat, and whose connection is open, counts as lost.
        """
        positive(timeout=timeout, silence=silence)
        count(1, 100, jpeg=jpeg)
        if jpeg is not None and not AVAILABLE:
            raise ConfigurationError("jpeg needs a package that is not installed: pip install 'forehand[jpeg]'")
        self._jpeg, self._silence = jpeg, silence
        self.address = address
        self.timeout = timeout
        self.facts: dict[str, Any] = {}
        self._role = role
        self._name = f"{role.title} at {address}"
        self._stated = None if contract is None else contract.to_dict()
        self._contract: Contract | None = None
        self._last_id = 0
        self._link: Link | None = None
        self._remote_clock = RemoteClock()
        self._lock = threading.RLock()
        self._unanswered: float | None = None  # since when nothing has been received that was due
        self._last_sent = 0.0
        self._heartbeats_off: threading.Event | None = None

    @property
    def contract(self) -> Contract:
        """What the other side said of itself in its hello."""
        return self._contract or self.hello()

    def hello(self, timeout: float | None = None) -> Contract:
        """Connect if need be, compare versions, and learn the other side's contract."""
        with self._lock:
            self._connected(time.monotonic() + (self.timeout if timeout is None else timeout))
            assert self._contract is not None
            return self._contract

    def request(
        self,
        kind: str,
        payload: Payload,
        *,
        session: str | None = None,
        timeout: float | None = None,
        moves: bool = False,
    ) -> Payload:
        """The result of one request. Raises what the other side answered, or what kept it from answering.

        ``moves``: it shall not be begun once this side has given up, and what is raised then says what is known of it.
        """
        with self._lock:
            deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
            link = self._link
            if link is None or link.lost():
                link = self._connected(deadline)
            try:
                return self._ask(link, kind, payload, session, deadline, moves)
            except HelloRequired:  # it was restarted or forgot us, and did nothing of what was asked
                return self._ask(self._connected(deadline), kind, payload, session, deadline, moves)

    @property
    def alive(self) -> bool:
        """Whether the other side answers heartbeats."""
        return self._link is not None

    def close(self) -> None:
        """Let go of the socket; what is unsent is dropped. A later request connects again."""
        with self._lock:
            if self._heartbeats_off:
                self._heartbeats_off.set()
                self._heartbeats_off = None
            self._drop()

    def _connected(self, deadline: float) -> Link:
        """A link to the right kind of endpoint, which has said what it is."""
        if self._link is None or self._link.lost():
            self._drop()
            self._link = Link(self.address)
        try:
            self._say_hello(self._link, deadline)
        except Exception:
            self._drop()  # so that nothing is asked on a link whose other end is unknown
            raise
        if self._heartbeats_off is None:
            self._heartbeats_off = threading.Event()
            threading.Thread(target=_send_heartbeats, args=(weakref.ref(self), self._heartbeats_off), daemon=True).start()
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
        self._remote_clock = RemoteClock()
        wanted = {} if self._jpeg is None else {"jpeg": self._jpeg}
        answer = self._ask(link, "hello", {"contract": self._stated, "heartbeat": HEARTBEAT, **wanted}, None, deadline)
        role = require(answer, "role", str)
        if role != self._role.name:
            raise ProtocolError(f"There is no {self._name}: what answers there serves a {role}. Give the other address.")
        contract = contract_from_payload(require(answer, "contract", dict))
        if self._contract is not None and contract != self._contract:
            raise ContractMismatch(
                f"The {self._name} came back with another contract than before, so it cannot be used.\n"
                f"  before: {self._contract}\n  now: {contract}\nStart anew with the contract it has now."
            )
        self._contract, self.facts = contract, require(answer, "facts", dict)

    def _ask(
        self, link: Link, kind: str, payload: Payload, session: str | None, deadline: float, moves: bool = False
    ) -> Payload:
        if moves and self._remote_clock.is_stale(clock()):
            self._renew_clock(link, kind, deadline)
        budget = deadline - time.monotonic()
        if budget <= 0:
            raise self._deadline_error(kind, f" It was not sent, so {kind!r} was not carried out." if moves else "")
        fate = self._fate(kind) if moves else ""
        try:
            asked = self._send(link, kind, payload | self._begin_by(budget) if moves else payload, session, budget)
            while (left := deadline - time.monotonic()) > 0:
                frames = link.receive(min(left, HEARTBEAT))
                if frames is None:
                    self._ping(link)
                    continue
                self._unanswered = None
                message = decode(frames)
                self._remote_clock.hear(message.payload.get("clock"), clock())
                if (answer := _read(message, asked)) is not None:
                    return answer
        except LinkLost:
            self._drop()
            raise ConnectionLost(
                f"The connection to the {self._name} was lost while {kind!r} waited for its answer: it was stopped, it "
                f"crashed, or the network failed.{fate} Start it again ({self._role.command}) and begin a new session."
            ) from None
        raise self._deadline_error(kind, fate)

    def _fate(self, kind: str) -> str:
        """What is known of a motion that was sent and not answered."""
        later = "if it has not begun yet, it will not" if self._remote_clock.known else "this host may begin it later"
        return f" Whether {kind!r} was carried out is unknown; {later}."

    def _renew_clock(self, link: Link, kind: str, deadline: float) -> None:
        try:
            self._ask(link, "ping", {}, None, deadline)
        except (ConnectionLost, DeadlineExceeded) as error:
            raise type(error)(f"{kind!r} was not sent, so it was not carried out. {error}") from None

    def _begin_by(self, budget: float) -> Payload:
        """Until when, on the other side's clock, a motion may begin whose answer is awaited for ``budget`` seconds.

        That is before this side gives up, also where it does so because nothing arrives any more.
        """
        if not self._remote_clock.known:
            return {}
        silent = 0.0 if self._unanswered is None else time.monotonic() - self._unanswered
        wait = min(budget, self._silence - silent)
        return {"begin_by": self._remote_clock.at(clock()) + wait - min(ANSWER, wait / 4)}

    def _send(self, link: Link, kind: str, payload: Payload, session: str | None, budget: float) -> int:
        """Its id."""
        self._last_id += 1
        frames = encode(Message(kind, self._last_id, payload, session, budget), self._jpeg)
        self._last_sent = time.monotonic()
        if self._unanswered is None:
            self._unanswered = self._last_sent
        link.send(frames)
        return self._last_id

    def _ping(self, link: Link) -> None:
        """Send a ping, if it is time; raises :class:`LinkLost` when nothing has come for too long."""
        now = time.monotonic()
        if self._unanswered is not None and now - self._unanswered > self._silence:
            raise LinkLost
        if now - self._last_sent >= HEARTBEAT:
            self._send(link, "ping", {}, None, HEARTBEAT_TIMEOUT)

    def heartbeat(self) -> None:
        """Send a heartbeat and read the answers, unless a request is under way, which does so itself."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if (link := self._link) is None:
                return
            while link.receive(0.0) is not None:
                self._unanswered = None
            self._ping(link)
        except LinkLost:
            self._drop()
        finally:
            self._lock.release()

    def _deadline_error(self, kind: str, fate: str = "") -> DeadlineExceeded:
        return DeadlineExceeded(
            f"The {self._name} did not answer {kind!r} in time.{fate} It is overloaded, slow or stuck: look at its log, "
            f"or allow more time (timeout=…)."
        )


def _read(answer: Message, asked: int) -> Payload | None:
    """What answers the request ``asked``; None for a heartbeat's, or a late one to a request that was given up."""
    if answer.kind == "error" and answer.id in (asked, 0):
        raise error_from_payload(answer.payload)
    return answer.payload if answer.kind == "result" and answer.id == asked else None


def _send_heartbeats(reference: weakref.ref[Connection], closed: threading.Event) -> None:
    """Send heartbeats for a connection until it is closed or garbage-collected."""
    while not closed.wait(HEARTBEAT / 2):
        connection = reference()
        if connection is None:
            return
        connection.heartbeat()
        del connection
