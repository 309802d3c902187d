"""What an endpoint tells about its work: to nobody, or to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forehand.errors import ConfigurationError


class Meter:
    """Listens to an endpoint and keeps nothing. Methods are called from several threads."""

    def answered(self, kind: str, code: str, seconds: float) -> None:
        """A request got its answer, ``ok`` or an error's code, so long after it was read."""

    def computed(self, waited: Sequence[float], seconds: float) -> None:
        """A batch was computed, or a command carried out: seconds that each step had waited before, and that it took."""

    def watch(self, what: str, sentence: str, read: Callable[[], float]) -> None:
        """``read`` tells how many ``what`` there are now."""

    def close(self) -> None:
        """Nothing more is told."""


_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class PrometheusMeter(Meter):
    """Offers ``http://HOST:PORT/metrics`` in a registry of its own; needs the extra ``metrics``.

    ``forehand_requests_total{kind,code}`` (a code but ``ok`` is a refusal), ``forehand_request_seconds{kind}``,
    ``forehand_stage_seconds{stage}`` (``queued``, ``computed``), ``forehand_batch_size``, and what is watched:
    ``forehand_clients``, ``forehand_queue``, of a policy server ``forehand_sessions``, of a robot host ``forehand_held``,
    ``forehand_moving``, ``forehand_stopped``, ``forehand_watchdog_holds`` and ``forehand_cuts``.
    """

    def __init__(self, address: str) -> None:
        """``HOST:PORT``; port 0 takes a free one."""
        from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigurationError(f"metrics={address} is no address; write HOST:PORT, for example 127.0.0.1:9100.")
        registry = self._registry = CollectorRegistry()
        self._requests = Counter("forehand_requests", "answers by request and code", ["kind", "code"], registry=registry)
        self._seconds = Histogram(
            "forehand_request_seconds", "from reading to answering", ["kind"], registry=registry, buckets=_SECONDS
        )
        stages = Histogram("forehand_stage_seconds", "of steps", ["stage"], registry=registry, buckets=_SECONDS)
        self._queued, self._computed = stages.labels("queued"), stages.labels("computed")
        self._sizes = Histogram("forehand_batch_size", "sessions in a batch", registry=registry, buckets=_SIZES)
        try:
            self._server, self._thread = start_http_server(int(port), host, registry)
        except OSError as error:
            raise ConfigurationError(f"metrics={address} cannot be listened at: {error}.") from error
        self.address = f"http://{host}:{self._server.server_port}/metrics"

    def answered(self, kind: str, code: str, seconds: float) -> None:
        """Count it."""
        self._requests.labels(kind, code).inc()
        self._seconds.labels(kind).observe(seconds)

    def computed(self, waited: Sequence[float], seconds: float) -> None:
        """Count it."""
        self._sizes.observe(len(waited))
        for one in waited:
            self._queued.observe(one)
            self._computed.observe(seconds)

    def watch(self, what: str, sentence: str, read: Callable[[], float]) -> None:
        """A gauge ``forehand_<what>``."""
        from prometheus_client import Gauge

        Gauge(f"forehand_{what}", sentence, registry=self._registry).set_function(read)

    def close(self) -> None:
        """Free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
