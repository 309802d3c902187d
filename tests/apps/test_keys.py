"""``forehand keys``: two computers get to know each other, by hand and once; then one serves the other."""

import pytest


@pytest.fixture
def on(forehand, tmp_path):
    """Type ``forehand …`` on the computer of that name; what it prints."""

    def type_(computer, *arguments):
        done = forehand(*arguments, FOREHAND_KEYS=str(tmp_path / computer))
        assert done.returncode == 0, done.stderr
        return done.stdout

    return type_


def key(page):
    return page.split("this computer")[1].split()[0]


@pytest.mark.slow
def test_two_computers_get_to_know_each_other(on, tmp_path):
    assert "no keys yet: forehand keys generate=true" in on("robot", "keys")
    ours, theirs = key(on("robot", "keys", "generate=true")), key(on("server", "keys", "generate=true"))
    assert ours != theirs
    assert f"  arm-1  {ours}\n" in on("server", "keys", "allow=arm-1", f"key={ours}")
    assert f"  10.0.0.9:5555  {theirs}\n" in on("robot", "keys", "trust=10.0.0.9:5555", f"key={theirs}")
    assert "may connect here: nobody" in on("server", "keys", "revoke=arm-1")
    assert key(on("robot", "keys")) == ours
    assert (tmp_path / "robot" / "secret").read_text().strip() not in on("robot", "keys")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate=true", "revoke=x"), ["One thing at a time"]),
        (("allow=x",), ["allow=NAME key=…"]),
        (("key=abc",), ["One thing at a time"]),
        (("allow=x", "key=abc"), ["64 hexadecimal digits"]),
        (("revoke=x",), ["There is no 'x'"]),
    ],
)
def test_a_mistake_is_explained(arguments, words, forehand, tmp_path):
    result = forehand("keys", *arguments, FOREHAND_KEYS=str(tmp_path))
    assert result.returncode == 2
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [("serve", "policy.name=zero_action"), ("robot",)])
def test_without_keys_nothing_is_served_to_other_computers(forehand, tmp_path, command):
    result = forehand(*command, "address=tcp://0.0.0.0:0", FOREHAND_KEYS=str(tmp_path))
    assert result.returncode == 2
    assert "this one has no keys, so it serves on loopback only" in result.stderr
    assert "Traceback" not in result.stderr
