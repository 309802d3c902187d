"""Processes die, come back and come back different; a client says so at once, says what to do, and can go on."""

from __future__ import annotations

import gc
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import suppress

import pytest
import zmq

from forehand.errors import ContractMismatch
from forehand.wire import ConnectionLost, PolicyClient, UnknownSession
from forehand.wire.link import Link
from forehand.wire.peers import Peers

SERVER = """
import sys, time
import numpy as np
from forehand import Contract, Policy, Prediction
from forehand.wire import PolicyServer

class Slow(Policy):
    contract = Contract.from_json(sys.argv[2])
    def step(self, sessions, observations, *, forecast=False):
        if observations[0].time > 0:  # only observation 0 is answered at once
            print("computing", flush=True)
            time.sleep(60)
        return [Prediction(o.state[None]) for o in observations]

server = PolicyServer(Slow(), sys.argv[1])
print(server.address, flush=True)
server.run()
print("stopped cleanly", flush=True)
"""


@pytest.mark.slow
def test_a_server_killed_while_it_computes_is_missed_at_once_and_found_again(process, contract, sense):
    child, address = process(SERVER, "tcp://127.0.0.1:0", contract.to_json())
    with PolicyClient(address, timeout=60) as client:
        session = client.open("push", contract)
        session.step(sense(0))

        def kill_while_computing():
            assert child.stdout.readline() == "computing\n"
            child.kill()

        killer = threading.Thread(target=kill_while_computing)
        killer.start()
        started = time.monotonic()
        with pytest.raises(ConnectionLost) as caught:
            session.step(sense(1))
        killer.join()
        assert time.monotonic() - started < 30, "it waited for its timeout instead of noticing"
        assert f"policy server at {address} was lost" in str(caught.value)
        assert "Start it again (forehand serve) and begin a new session" in str(caught.value)
        with pytest.raises(ConnectionLost, match="Is it running"):
            client.ping(timeout=0.3)

        process(SERVER, address, contract.to_json())
        with pytest.raises(UnknownSession, match="server was restarted"):
            session.step(sense(0))
        assert client.open("push", contract).step(sense(0)).actions.shape == (1, 7)


def step_once_it_is_back(session, observation):
    """A step on the server that came back, where the loss of the first one may be noticed only with the request."""
    with suppress(ConnectionLost):
        return session.step(observation)
    return session.step(observation)


@pytest.mark.slow
def test_a_server_that_comes_back_with_another_contract_is_not_followed(process, contract, sense):
    child, address = process(SERVER, "tcp://127.0.0.1:0", contract.to_json())
    with PolicyClient(address, timeout=30) as client:
        session = client.open("push", contract)
        child.kill()
        child.wait()
        process(SERVER, address, contract.to_json().replace('"open"', '"closed"'))
        with pytest.raises(ContractMismatch, match="another contract than before"):
            step_once_it_is_back(session, sense(0))


def test_nobody_there_is_an_answer_too():
    with PolicyClient("tcp://127.0.0.1:1", timeout=0.2) as client, pytest.raises(ConnectionLost, match="forehand serve"):
        client.open("push")


@pytest.mark.slow
def test_a_client_that_starts_first_waits_for_its_server(process, contract):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    starter = threading.Timer(0.5, process, (SERVER, address, contract.to_json()))
    starter.start()
    with PolicyClient(address, timeout=30) as client:
        client.ping()
    starter.join()


BUSY_ELSEWHERE = """
import sys, time
import zmq
from forehand.wire.access import ServerAuth
from forehand.wire.bind import bind

socket, _ = bind("tcp://127.0.0.1:0", ServerAuth("tcp://127.0.0.1:0", insecure=False), 10)
print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
sys.stdin.readline()
while socket.poll(1000):
    socket.recv()
print("still here", flush=True)
"""


@pytest.mark.slow
def test_a_client_that_floods_and_goes_away_takes_nobody_down(process, raw):
    child, address = process(BUSY_ELSEWHERE)
    client = raw(address)
    while client.socket.poll(500, zmq.POLLOUT):
        client.socket.send(bytes(100_000))
    client.socket.close()
    time.sleep(2.5)  # libzmq's own heartbeat came every second, and aborted the process
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "still here\n"


def stranger(address: str) -> socket.socket:
    """A TCP connection that has shaken hands as ZMTP 3 asks (NULL, a DEALER), by hand."""
    host, port = address.removeprefix("tcp://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
    assert len(connection.recv(64, socket.MSG_WAITALL)) == 64
    connection.recv(connection.recv(2, socket.MSG_WAITALL)[1], socket.MSG_WAITALL)
    return connection


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a connection outlive its reset")
def test_a_stranger_who_floods_with_heartbeats_and_resets_takes_nobody_down(process):
    child, address = process(BUSY_ELSEWHERE)
    connection = stranger(address)
    message, ping = b"\x00\x14" + bytes(20), b"\x04\x07\x04PING\x00\x00"
    connection.settimeout(1)
    with pytest.raises(TimeoutError):  # nobody reads, so libzmq holds its input back
        connection.sendall((message * 3 + ping) * 500_000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()  # with a reset
    child.stdin.write("\n")  # now it reads, and libzmq finds the heartbeats
    child.stdin.flush()
    assert child.stdout.readline() == "still here\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_a_server_cleanly(process, contract, number):
    child, address = process(SERVER, "tcp://127.0.0.1:0", contract.to_json())
    with PolicyClient(address) as client:
        client.ping()
    child.send_signal(number)
    assert child.stdout.readline() == "stopped cleanly\n"
    assert child.wait(20) == 0


WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "lerobot"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, NoTorch())
from forehand import Contract, Policy, Prediction, Robot
from forehand.wire import PolicyServer, RemotePolicy, RobotHost
from forehand.wire.connection import ROBOT, Connection

class Idle(Policy):
    contract = Contract((), (), (), 10.0)
    def step(self, sessions, observations, *, forecast=False):
        raise NotImplementedError

with PolicyServer(Idle(), "tcp://127.0.0.1:0").running() as server:
    policy = RemotePolicy(server.address)
    policy.open("push")
    policy.close()
print("torch" not in sys.modules, flush=True)
"""


def test_nothing_here_needs_torch(process):
    _, line = process(WITHOUT_TORCH)
    assert line == "True"


def test_what_is_never_closed_ends_its_monitor_before_its_socket():
    """Else the next event of the socket blocks the thread of ZeroMQ that moves the messages of the whole process."""
    with zmq.Context.instance().socket(zmq.ROUTER) as bound:
        owners = [peers := Peers(bound, most=1), link := Link("tcp://127.0.0.1:1")]
        monitors = [peers.monitor, link._monitor]
        dealer = link._socket
        owners.append(owners)  # a cycle, whose members are collected in any order
        del owners, peers, link
        gc.collect()
        assert [monitor.closed for monitor in monitors] == [True, True]
        assert not dealer.closed
        assert not bound.closed
        dealer.close(linger=0)
