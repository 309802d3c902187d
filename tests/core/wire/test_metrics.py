"""Metrics say what a server did: stages, batches, sessions, refusals."""

from __future__ import annotations

import pytest

from forehand.errors import ConfigurationError
from forehand.wire import PolicyClient
from forehand.wire.metrics import PrometheusMetrics

from .conftest import read_metrics


def test_what_a_server_does_can_be_read(serve, contract, sense, raw):
    metrics = PrometheusMetrics("127.0.0.1:0")
    server = serve(metrics=metrics, max_sessions=1)
    with PolicyClient(server.address) as client:
        session = client.open("push", contract)
        session.step(sense())
        session.step(sense())
        stranger = raw(server.address)
        stranger.ask("hello", 1, {"contract": None})
        stranger.ask("open", 2, {"instruction": "lift", "contract": contract.to_dict()})
        stranger.ask("nonsense" * 9, 3)
        told = read_metrics(metrics.address)
    assert told['forehand_requests_total{code="ok",kind="step"}'] == 2
    assert told['forehand_requests_total{code="busy",kind="open"}'] == 1
    assert told['forehand_requests_total{code="protocol_error",kind="unknown"}'] == 1
    assert told['forehand_request_seconds_count{kind="step"}'] == 2
    assert told['forehand_stage_seconds_count{stage="queued"}'] == 2
    assert told['forehand_stage_seconds_count{stage="computed"}'] == 2
    assert told["forehand_batch_size_sum"] == 2
    assert (told["forehand_sessions"], told["forehand_clients"], told["forehand_queue"]) == (1, 2, 0)


@pytest.mark.parametrize("address", [":9100", "localhost:", "256.0.0.1:9100", "127.0.0.1:65536", "port"])
def test_where_metrics_cannot_be_offered_is_named(address):
    with pytest.raises(ConfigurationError, match=f"metrics={address}"):
        PrometheusMetrics(address)


@pytest.mark.parametrize(
    ("address", "host", "warned"), [("0", "127.0.0.1", 0), ("[::1]:0", "[::1]", 0), ("0.0.0.0:0", "0.0.0.0", 1)]
)
def test_metrics_are_offered_on_loopback_or_with_a_warning(address, host, warned, caplog):
    metrics = PrometheusMetrics(address)
    metrics.close()
    assert metrics.address.startswith(f"http://{host}:")
    assert caplog.text.count("open to everyone who can reach them: no key is required") == warned
