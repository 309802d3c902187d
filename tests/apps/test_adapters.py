"""One server, and clients of three protocols: each in a process of its own, as people start them."""

import io
import re
import shlex

import msgpack
import numpy as np
import pytest
import zmq
from openpi_client.websocket_client_policy import WebsocketClientPolicy

SERVE = ("serve", "policy.name=zero_action", "robot.options.image_size=32", "address=tcp://127.0.0.1:0")
PICTURE = np.zeros((32, 32, 3), np.uint8)


def ports(process, count):
    """Where the adapters listen, by protocol."""
    lines = [process.stdout.readline() for _ in range(count)]
    return {line.split()[0]: int(re.search(r":(\d+)\n", line)[1]) for line in lines}


def packed(array):
    written = io.BytesIO()
    np.save(written, array)
    return {"__ndarray_class__": True, "as_npy": written.getvalue()}


@pytest.mark.slow
def test_foreign_clients_are_answered_beside_our_own(forehand, started):
    adapters = ("adapters=[openpi_libero,gr00t_libero]", "adapters.openpi.port=0", "adapters.gr00t.port=0")
    with started(*SERVE, *adapters) as (process, address):
        port = ports(process, 2)
        images = {"observation/image": PICTURE, "observation/wrist_image": PICTURE}
        client = WebsocketClientPolicy("127.0.0.1", port["openpi"])
        answer = client.infer({**images, "observation/state": np.zeros(8), "prompt": "wait"})
        assert answer["actions"].shape == (1, 7)

        with zmq.Context.instance().socket(zmq.REQ) as socket:
            socket.connect(f"tcp://127.0.0.1:{port['gr00t']}")
            state = {key: packed(np.zeros((1, 1, 1), np.float32)) for key in ("x", "y", "z", "roll", "pitch", "yaw")}
            observation = {
                "video": {"image": packed(PICTURE[None, None]), "wrist_image": packed(PICTURE[None, None])},
                "state": {**state, "gripper": packed(np.zeros((1, 1, 2), np.float32))},
                "language": {"task": [["wait"]]},
            }
            socket.send(msgpack.packb({"endpoint": "get_action", "data": {"observation": observation}}))
            actions, _ = msgpack.unpackb(socket.recv())
            assert list(actions) == ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]

        ours = forehand(
            "run", "robot.options.image_size=32", f"policy.address={address}", "instruction=wait", "max_steps=2"
        )
        assert ours.returncode == 0, ours.stderr


def test_a_door_to_strangers_wants_a_key(forehand):
    refused = forehand(*SERVE, "adapters=[openpi_droid]", "adapters.openpi.host=0.0.0.0")
    assert refused.returncode == 2
    assert "adapters.openpi.api_key" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_conversions_that_an_error_offers_make_the_robot_fit(forehand, started):
    closed = "robot.convert=[state.rotation:axis_angle,action.gripper:closed]"
    with started(*SERVE, closed) as (_, address):
        drive = ("run", "robot.options.image_size=32", f"policy.address={address}", "instruction=wait", "max_steps=2")
        refused = forehand(*drive)
        assert refused.returncode == 2
        assert "needed 'axis_angle', offered 'euler_xyz_extrinsic'" in refused.stderr
        (offered,) = shlex.split(re.search(r"make it fit: (\S+)", refused.stderr)[1])
        assert offered == closed
        driven = forehand(*drive, offered)
        assert driven.returncode == 0, driven.stderr
