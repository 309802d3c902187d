"""Off loopback nobody is spoken to without a key, and everyone who is refused is told so at once, and what to do."""

from __future__ import annotations

import logging
import stat
import time

import pytest
import zmq

from forehand.errors import ConfigurationError
from forehand.wire import AccessDenied, AddressUnavailable, ConnectionLost, Keyring, PolicyClient
from forehand.wire.access import RELOAD, is_local
from forehand.wire.keys import FOLDER_VARIABLE

EVERYWHERE = "tcp://0.0.0.0:0"


@pytest.fixture
def computer(tmp_path, monkeypatch):
    """Be another computer from now on: its keyring."""

    def be(name: str, *, with_keys: bool = True) -> Keyring:
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / name))
        keyring = Keyring()
        if with_keys and keyring.public is None:
            keyring.make()
        return keyring

    return be


@pytest.fixture
def stranger_and_server(computer, serve):
    """A server that encrypts, what is known of it to one who is not allowed yet, and an address to reach it at."""
    theirs = computer("server")
    server = serve(address=EVERYWHERE)
    ours = computer("robot")
    ours.know("127.0.0.1", theirs.public)
    return ours, theirs, server.address.replace("0.0.0.0", "127.0.0.1")


def test_who_is_allowed_drives_and_nothing_is_in_the_clear(stranger_and_server, contract, sense):
    ours, theirs, address = stranger_and_server
    theirs.allow("robot", ours.public)
    with PolicyClient(address) as client:
        session = client.open("push", contract)
        assert session.step(sense()).actions.shape == (2, 7)
        socket = client._connection._link._socket
        assert socket.getsockopt(zmq.MECHANISM) == zmq.CURVE


def test_a_key_that_is_not_allowed_is_refused_long_before_the_timeout_and_let_in_later(stranger_and_server):
    ours, theirs, address = stranger_and_server
    started = time.monotonic()
    with PolicyClient(address, timeout=60) as client:
        with pytest.raises(AccessDenied, match=r"its key is not allowed there.*forehand keys allow=NAME"):
            client.ping()
        assert time.monotonic() - started < 30
        theirs.allow("robot", ours.public)
        client.ping()
        client.close()
        theirs.remove("robot")
        with pytest.raises(AccessDenied, match="not allowed"):
            client.ping()


def test_who_is_removed_is_sent_away_while_others_stay(stranger_and_server, computer, contract, sense):
    ours, theirs, address = stranger_and_server
    theirs.allow("robot", ours.public)
    with PolicyClient(address, timeout=60) as client:
        session = client.open("push", contract)
        other = computer("other")
        other.know("127.0.0.1", theirs.public)
        theirs.allow("other", other.public)
        with PolicyClient(address, timeout=60) as staying:
            staying.ping()
            theirs.remove("robot")
            with pytest.raises(ConnectionLost):
                list(iter(lambda: session.step(sense()), None))  # until then it goes on
            staying.ping()
            computer("robot")
            with pytest.raises(AccessDenied, match="not allowed"):
                session.step(sense())


def test_a_list_that_breaks_sends_nobody_away(stranger_and_server, contract, sense):
    ours, theirs, address = stranger_and_server
    theirs.allow("robot", ours.public)
    with PolicyClient(address) as client:
        session = client.open("push", contract)
        (theirs.folder / "allowed").write_text("broken line\n")
        time.sleep(2 * RELOAD)
        session.step(sense())


def test_a_server_with_another_key_than_known_is_refused(stranger_and_server, computer):
    ours, theirs, address = stranger_and_server
    theirs.allow("robot", ours.public)
    ours.know("127.0.0.1", ours.public)
    with PolicyClient(address, timeout=30) as client, pytest.raises(AccessDenied, match="does not own the key"):
        client.ping()


def test_one_side_that_encrypts_and_one_that_does_not_never_meet(stranger_and_server, serve):
    ours, _, address = stranger_and_server
    with PolicyClient(serve().address, timeout=30) as client, pytest.raises(AccessDenied, match="does not encrypt"):
        client.ping()
    ours.remove("127.0.0.1")
    with PolicyClient(address, timeout=30) as client, pytest.raises(AccessDenied, match="asks for keys"):
        client.ping()


def test_without_keys_a_server_stays_on_loopback(computer, serve):
    computer("bare", with_keys=False)
    with pytest.raises(AccessDenied, match=r"serves on loopback only.*forehand keys make=true"):
        serve(address=EVERYWHERE)
    with PolicyClient(serve().address) as client:
        client.ping()


def test_without_its_key_a_distant_host_is_sent_nothing(computer):
    ours = computer("robot", with_keys=False)
    with PolicyClient("tcp://192.0.2.1:5555", timeout=30) as client:
        with pytest.raises(AccessDenied, match=r"key of 192\.0\.2\.1 is not known here"):
            client.ping()
        ours.know("192.0.2.1", "ab" * 32)
        with pytest.raises(AccessDenied, match="this computer has none"):
            client.ping()


def test_speaking_in_the_clear_takes_a_word_on_both_sides(computer, serve, caplog):
    ours = computer("bare", with_keys=False)
    server = serve(address=EVERYWHERE, insecure=True)
    assert "open to everyone" in caplog.text
    ours.know("127.0.0.1", "none")
    with PolicyClient(server.address.replace("0.0.0.0", "127.0.0.1")) as client:
        client.ping()


def test_a_list_that_cannot_be_read_lets_nobody_in(stranger_and_server, caplog):
    ours, theirs, address = stranger_and_server
    (theirs.folder / "allowed").write_text(f"robot {ours.public}\nbroken line\n")
    with PolicyClient(address, timeout=30) as client, pytest.raises(AccessDenied, match="not allowed"):
        client.ping()
    assert "nobody can be let in: A key is 64 hexadecimal digits" in caplog.text


def test_no_secret_and_no_whole_key_is_ever_logged(stranger_and_server, caplog):
    caplog.set_level(logging.DEBUG)
    ours, theirs, address = stranger_and_server
    with PolicyClient(address, timeout=30) as client:
        with pytest.raises(AccessDenied) as caught:
            client.ping()
        theirs.allow("robot", ours.public)
        client.ping()
    said = caplog.text + str(caught.value)
    assert ours.public[:8] in said
    for keyring in (ours, theirs):
        for key in (keyring.secret.hex(), keyring.public):
            assert key not in said


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("tcp://127.0.0.1:5555", True),
        ("tcp://127.8.0.1:5555", True),
        ("tcp://localhost:5555", True),
        ("tcp://[::1]:5555", True),
        ("ipc:///tmp/forehand", True),
        ("inproc://forehand", True),
        ("tcp://*:5555", False),
        ("tcp://0.0.0.0:5555", False),
        ("tcp://[::]:5555", False),
        ("tcp://eth0:5555", False),
        ("tcp://10.0.0.9:5555", False),
        ("tcp://eth0;10.0.0.9:5555", False),
        ("tcp://localhost.example.org:5555", False),
    ],
)
def test_only_loopback_is_local(address, local):
    assert is_local(address) is local


def test_half_an_address_is_none():
    with pytest.raises(AddressUnavailable, match="tcp://HOST:PORT"):
        is_local("tcp://0.0.0.0")


def test_keys_belong_to_their_owner_alone(computer):
    keyring = computer("robot")
    assert [stat.S_IMODE(path.stat().st_mode) for path in keyring.folder.iterdir()] == [0o600]
    assert stat.S_IMODE(keyring.folder.stat().st_mode) == 0o700
    (keyring.folder / "secret").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        _ = keyring.public


def test_keys_are_made_once(computer):
    keyring = computer("robot")
    with pytest.raises(ConfigurationError, match="has keys already"):
        keyring.make()


def test_names_come_and_go(computer):
    keyring = computer("robot")
    keyring.allow("laptop", "AB" * 32)
    keyring.know("gpu-box:5555", "cd" * 32)
    assert (keyring.allowed, keyring.known) == ({"laptop": "ab" * 32}, {"gpu-box:5555": "cd" * 32})
    assert keyring.key_of("gpu-box", "5555") == "cd" * 32
    assert keyring.key_of("gpu-box", "5556") is None
    keyring.remove("laptop")
    assert keyring.allowed == {}
    with pytest.raises(ConfigurationError, match=r"no 'laptop' in .*; there is gpu-box:5555"):
        keyring.remove("laptop")


@pytest.mark.parametrize("key", ["", "abc", "g" * 64, "none"])
def test_what_is_no_key_is_not_written(computer, key):
    keyring = computer("robot")
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits"):
        keyring.allow("laptop", key)
    with pytest.raises(ConfigurationError, match="no blanks"):
        keyring.allow("my laptop", "ab" * 32)
    assert keyring.allowed == {}
