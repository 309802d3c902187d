"""Off loopback nobody is spoken to without a key, and everyone who is refused is told so at once, and what to do."""

from __future__ import annotations

import logging
import socket
import stat
import time

import pytest
import zmq

from forehand.errors import ConfigurationError
from forehand.utils.addresses import family
from forehand.wire import AccessDenied, AddressUnavailable, ConnectionLost, Keyring, PolicyClient
from forehand.wire.access import RELOAD, ClientAuth, is_local
from forehand.wire.keys import FOLDER_VARIABLE

EVERYWHERE = "tcp://0.0.0.0:0"


def _has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


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


@pytest.mark.slow
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


@pytest.mark.slow
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
    with PolicyClient(address, timeout=30) as client, pytest.raises(AccessDenied, match="requires keys"):
        client.ping()


def test_without_keys_a_server_stays_on_loopback(computer, serve):
    computer("bare", with_keys=False)
    with pytest.raises(AccessDenied, match=r"serves on loopback only.*forehand keys generate=true"):
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
    assert "accepts everyone" in caplog.text
    ours.know("127.0.0.1", "none")
    with PolicyClient(server.address.replace("0.0.0.0", "127.0.0.1")) as client:
        client.ping()


def test_a_line_that_cannot_be_read_lets_nobody_in_and_keeps_nobody_out(stranger_and_server, caplog):
    ours, theirs, address = stranger_and_server
    (theirs.folder / "allowed").write_text(f"other {ours.public[:-1]}\n")
    with PolicyClient(address, timeout=30) as client:
        with pytest.raises(AccessDenied, match="not allowed"):
            client.ping()
        assert "is ignored: A key is 64 hexadecimal digits; the key of 'other'" in caplog.text
        (theirs.folder / "allowed").write_text(f"other {ours.public[:-1]}\nrobot {ours.public}\n")
        client.ping()
    assert caplog.text.count("is ignored") == 1


def test_a_list_that_cannot_be_opened_lets_nobody_in(stranger_and_server, caplog):
    _, theirs, address = stranger_and_server
    (theirs.folder / "allowed").mkdir()
    with PolicyClient(address, timeout=30) as client, pytest.raises(AccessDenied, match="not allowed"):
        client.ping()
    assert "no client can be authenticated" in caplog.text


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
        ("tcp://[0:0:0:0:0:0:0:1]:5555", True),
        ("tcp://[::ffff:127.0.0.1]:5555", True),
        ("tcp://LOCALHOST:5555", True),
        ("tcp://[::ffff:0.0.0.0]:5555", False),
        ("tcp://[fe80::1%eth0]:5555", False),
        ("tcp://[2001:db8::1]:5555", False),
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
    assert keyring.allowed == {}


@pytest.mark.parametrize(
    "name", ["", "my laptop", "#1", "a\tb", "a\nb", "a\x1b[31m", "a\x85b", "a\u2028b", "a\udc80", "a\0"]
)
def test_a_name_that_the_list_could_not_hold_is_refused(computer, name):
    keyring = computer("robot")
    keyring.allow("laptop", "ab" * 32)
    with pytest.raises(ConfigurationError, match="no blanks and no '#' in front"):
        keyring.allow(name, "cd" * 32)
    with pytest.raises(ConfigurationError, match=r"no blanks|is no host"):
        keyring.know(name, "cd" * 32)
    assert keyring.allowed == {"laptop": "ab" * 32}


@pytest.mark.parametrize("name", ["arm#1", "é", "a=b", "none", "'x'"])
def test_any_other_name_comes_and_goes(computer, name):
    keyring = computer("robot")
    keyring.allow(name, "ab" * 32)
    assert keyring.allowed == {name: "ab" * 32}
    keyring.remove(name)
    assert keyring.allowed == {}


def test_a_bad_line_takes_down_no_other_and_is_kept_until_it_is_removed(computer):
    keyring = computer("robot")
    by_hand = f"# the lab\narm-1 {'ab' * 32} # left\narm-2 {'cd' * 31}\n\xff\n"
    (keyring.folder / "allowed").write_bytes(by_hand.encode("latin-1"))
    assert keyring.allowed == {"arm-1": "ab" * 32}
    assert ["'arm-2'" in problem for problem in keyring.unreadable("allowed")] == [True, False]
    keyring.allow("arm-3", "ef" * 32)
    assert keyring.allowed == {"arm-1": "ab" * 32, "arm-3": "ef" * 32}
    assert len(keyring.unreadable("allowed")) == 2
    keyring.remove("arm-2")
    assert len(keyring.unreadable("allowed")) == 1
    assert (keyring.folder / "allowed").read_text().startswith(f"# the lab\narm-1 {'ab' * 32} # left\n")


def test_a_key_cannot_smuggle_in_another_line(computer):
    keyring = computer("robot")
    keyring.allow("arm", f"{'ab' * 32} #\nother {'cd' * 32}")
    assert keyring.allowed == {"arm": "ab" * 32}


def test_a_known_host_whose_line_is_broken_is_not_spoken_to_in_the_clear(computer):
    keyring = computer("robot")
    (keyring.folder / "known").write_text(f"127.0.0.1 {'ab' * 31}\ngpu {'cd' * 32}\n")
    with pytest.raises(ConfigurationError, match=r"64 hexadecimal digits; the key of '127\.0\.0\.1'"):
        ClientAuth.for_address("tcp://127.0.0.1:5555")
    assert keyring.key_of("gpu", "5555") == "cd" * 32


@pytest.mark.parametrize(
    ("stated", "place", "address"),
    [
        ("tcp://10.0.0.9", "10.0.0.9", "tcp://10.0.0.9:5555"),
        ("tcp://10.0.0.9:5555", "10.0.0.9:5555", "tcp://10.0.0.9:5555"),
        ("GPU-Box", "gpu-box", "tcp://gpu-box:5555"),
        ("gpu-box", "gpu-box", "tcp://GPU-box:5555"),
        ("::1", "::1", "tcp://[::1]:5555"),
        ("[::1]:5555", "[::1]:5555", "tcp://[0:0:0:0:0:0:0:1]:5555"),
        ("tcp://[2001:DB8::0001]", "2001:db8::1", "tcp://[2001:db8::1]:5555"),
    ],
)
def test_a_host_is_known_however_it_is_written(computer, stated, place, address):
    keyring = computer("robot")
    keyring.know(stated, "ab" * 32)
    assert keyring.known == {place: "ab" * 32}
    assert ClientAuth.for_address(address).encrypted
    keyring.remove(stated)
    assert keyring.known == {}


@pytest.mark.parametrize("stated", ["tcp://", "http://gpu", "gpu/x", "gpu:port", "gpu:1:2", "[gpu]:5555", "ipc:///tmp/x"])
def test_what_is_no_host_is_not_known(computer, stated):
    keyring = computer("robot")
    with pytest.raises(ConfigurationError, match="is no host"):
        keyring.know(stated, "ab" * 32)


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this computer has no IPv6")


@needs_ipv6
def test_the_loopback_of_ipv6_serves_without_keys(computer, serve, contract, sense):
    computer("bare", with_keys=False)
    server = serve(address="tcp://[::1]:0")
    assert server.address.startswith("tcp://[::1]:")
    with PolicyClient(server.address) as client:
        assert client.open("push", contract).step(sense()).actions.shape == (2, 7)


@needs_ipv6
def test_both_protocols_reach_an_endpoint_that_listens_on_all_of_ipv6_and_only_with_keys(computer, serve):
    computer("bare", with_keys=False)
    with pytest.raises(AccessDenied, match="serves on loopback only"):
        serve(address="tcp://[::]:0")
    theirs = computer("server")
    port = serve(address="tcp://[::]:0").address.rpartition(":")[2]
    for host in ("[::1]", "127.0.0.1"):
        theirs.know(host, theirs.public)
        with PolicyClient(f"tcp://{host}:{port}") as client:
            client.ping()


@pytest.mark.parametrize(
    ("resolved", "expected"),
    [([socket.AF_INET6], socket.AF_INET6), ([socket.AF_INET6, socket.AF_INET], socket.AF_INET), ([], socket.AF_INET)],
)
def test_a_name_is_reached_by_ipv6_where_it_has_nothing_else(monkeypatch, resolved, expected):
    def look_up(host, port, **options):
        if not resolved:
            raise socket.gaierror
        return [(family, None, None, "", ()) for family in resolved]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert family("gpu-box") == expected
