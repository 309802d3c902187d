"""Serve a policy to robots that use openpi's client.

pip install msgpack websockets && pip install --no-deps openpi-client
python examples/openpi_adapter.py
"""

import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from forehand import registry
from forehand.conformance.example import CONTRACT
from forehand.wire import PolicyServer
from forehand.wire.adapters import KeyMap
from forehand_plugins.adapters.openpi import OpenPiAdapter

KEYS = KeyMap(  # openpi's names for what the policy's contract needs, as its LIBERO client sends them
    cameras={"static": "observation/image", "wrist": "observation/wrist_image"},
    state=["observation/state"],
    instruction="prompt",
    resize=True,  # their images have 224 pixels, this contract's 48
)

if __name__ == "__main__":
    policy = registry().create("policy", "random", contract=CONTRACT, horizon=8)
    server = PolicyServer(policy, "tcp://127.0.0.1:0")
    adapter = OpenPiAdapter(server, "127.0.0.1", 0, KEYS)  # port 0: any that is free; openpi's own is 8000
    with server.running():
        adapter.open()
        try:
            client = WebsocketClientPolicy("127.0.0.1", adapter.port)
            request = {
                "observation/image": np.zeros((224, 224, 3), np.uint8),
                "observation/wrist_image": np.zeros((224, 224, 3), np.uint8),
                "observation/state": np.zeros(CONTRACT.state_size, np.float32),
                "prompt": "fold the towel",
            }
            print("actions", client.infer(request)["actions"].shape)
        finally:
            adapter.close()  # before the server stops
