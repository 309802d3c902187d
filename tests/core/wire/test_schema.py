"""The schema of the requests is the one in the docs, and the endpoints require what it requires."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from forehand import Robot
from forehand.wire import RobotHost
from forehand.wire.schema import REQUESTS, request_schema
from forehand.wire.serialize import observation_to_payload

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "requests.schema.json"


def test_the_schema_in_the_docs_is_current():
    assert json.loads(PAGE.read_text()) == request_schema(), "python -m forehand.wire.schema > " + str(PAGE)


class Still(Robot):
    def __init__(self, contract, sense):
        self.contract, self.sense = contract, sense

    def reset(self, episode=None):
        return self.sense()

    def observe(self):
        return self.sense()

    def act(self, action):
        return action

    def hold(self):
        pass


@pytest.mark.parametrize("role", REQUESTS)
def test_an_endpoint_takes_what_the_schema_allows_and_refuses_what_lacks_a_field(serve, raw, contract, sense, role):
    episode = {"task": "", "instruction": "", "seed": 1, "max_steps": 2, "options": {"a": 1}, "continues": False}
    payload = {
        "contract": contract.to_dict(),
        "instruction": "push",
        "seed": 3,
        "observation": observation_to_payload(sense()),
        "forecast": False,
        "earlier": [],
        "episode": episode,
        "action": np.zeros(7, np.float32),
        "begin_by": None,
        "heartbeat": None,
        "jpeg": None,
    }
    with RobotHost(Still(contract, sense), "tcp://127.0.0.1:0", watchdog=60).running() as host:
        server = serve() if role == "policy" else host
        client = raw(server.address)
        assert REQUESTS[role].keys() == server._dispatcher.handlers.keys()
        id, session = 0, None
        order = ["hello", "open", *(REQUESTS[role].keys() - {"hello", "open", "stop", "close"}), "stop", "close"]
        for kind in [kind for kind in order if kind in REQUESTS[role]]:
            fields = REQUESTS[role][kind]
            whole = {name: payload[name] for name in fields.__annotations__}
            for missing in sorted(fields.__required_keys__):
                lacking = {name: value for name, value in whole.items() if name != missing}
                answer = client.ask(kind, id := id + 1, lacking, session)
                assert answer.payload["code"] == "protocol_error", (kind, missing)
                assert repr(missing) in answer.payload["message"]
            answer = client.ask(kind, id := id + 1, whole, session)
            assert answer.kind == "result", (kind, answer.payload)
            session = answer.payload.get("session", session)
