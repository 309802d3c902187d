"""What this plugin offers."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    registry.add("encoder", "example/state", "forehand_example.encoder:PlainState", "one token, linear in the state")
    registry.add("policy", "example/nod", "forehand_example.nod:Nod", "opens and closes the gripper in turn")


@hookimpl
def forehand_configuration() -> str:
    return "pkg://forehand_example.conf"
