"""Prometheus metrics of an endpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from forehand.errors import ConfigurationError
from forehand.utils.addresses import bare_host, is_loopback, with_port

log = logging.getLogger(__name__)


class Metrics:
    """Receives an endpoint's measurements and discards them. Methods are called from several threads."""

    def request(self, kind: str, code: str, seconds: float) -> None:
        """A request got its answer, ``ok`` or an error's code, so long after it was read."""

    def batch(self, waited: Sequence[float], seconds: float) -> None:
        """A batch was computed, or a command carried out: seconds that each step had waited before, and that it took."""

    def gauge(self, what: str, sentence: str, read: Callable[[], float]) -> None:
        """``read`` returns the present value of ``what``."""

    def close(self) -> None:
        """Stop reporting."""


_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class PrometheusMetrics(Metrics):
    """Offers ``http://HOST:PORT/metrics`` in a registry of its own; needs the extra ``metrics``.

    ``forehand_requests_total{kind,code}`` (a code but ``ok`` is a refusal), ``forehand_request_seconds{kind}``,
    ``forehand_stage_seconds{stage}`` (``queued``, ``computed``), ``forehand_batch_size``, and what is watched:
    ``forehand_clients``, ``forehand_queue``, of a policy server ``forehand_sessions``, of a robot host ``forehand_held``,
    ``forehand_moving``, ``forehand_stopped``, ``forehand_watchdog_holds`` and ``forehand_cuts``.
    """

    def __init__(self, address: str) -> None:
        """``HOST:PORT``, or ``PORT`` on loopback; port 0 takes a free one. A warning is logged off loopback."""
        from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

        host, colon, port = str(address).rpartition(":")
        if (colon and not host) or not port.isdigit() or int(port) > 65535:
            raise ConfigurationError(f"metrics={address} is no address; write HOST:PORT, for example 127.0.0.1:9100.")
        host = bare_host(host) or "127.0.0.1"
        if not is_loopback(host):
            log.warning("the metrics at %s are open to everyone who can reach them: no key is required", address)
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
        self.address = f"http://{with_port(host, self._server.server_port)}/metrics"

    def request(self, kind: str, code: str, seconds: float) -> None:
        """Count it."""
        self._requests.labels(kind, code).inc()
        self._seconds.labels(kind).observe(seconds)

    def batch(self, waited: Sequence[float], seconds: float) -> None:
        """Count it."""
        self._sizes.observe(len(waited))
        for one in waited:
            self._queued.observe(one)
            self._computed.observe(seconds)

    def gauge(self, what: str, sentence: str, read: Callable[[], float]) -> None:
        """A gauge ``forehand_<what>``."""
        from prometheus_client import Gauge

        Gauge(f"forehand_{what}", sentence, registry=self._registry).set_function(read)

    def close(self) -> None:
        """Free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
