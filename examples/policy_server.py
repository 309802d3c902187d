"""Serve a policy to several robots, and ask it over the wire.

python examples/policy_server.py
"""

import numpy as np

from forehand import Observation, registry
from forehand.conformance.example import CONTRACT, observation
from forehand.wire import PolicyClient, PolicyServer

if __name__ == "__main__":
    # load_policy("outputs/first") in place of this one serves a checkpoint, as `forehand serve` does.
    policy = registry().create("policy", "random", contract=CONTRACT, horizon=8)
    server = PolicyServer(policy, "tcp://127.0.0.1:0")  # port 0: any that is free

    generator = np.random.default_rng(0)
    frames: list[Observation] = [observation(CONTRACT, generator, time=i / CONTRACT.rate) for i in range(3)]
    with server.running(), PolicyClient(server.address, timeout=5.0, contract=CONTRACT) as client:
        print("serving", client.describe())
        # Each robot has a session of its own; the server computes those that wait in one batch.
        left, right = client.open("lift the red block"), client.open("push the blue block")
        for frame in frames:
            for session in (left, right):
                prediction = session.step(frame)
                assert session.timing is not None
                print(
                    f"{session.instruction}: actions {prediction.actions.shape}, "
                    f"{session.timing.queued * 1000:.2f} ms waiting, {session.timing.computed * 1000:.2f} ms computing"
                )
        left.close()
        right.close()
