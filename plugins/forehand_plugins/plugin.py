"""What this package registers."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "policy",
        "composed",
        "forehand.compose.policy:ComposedPolicy",
        "encoders, a backbone, a world model and an action head, tied together by who reads whom",
    )
    registry.add(
        "encoder",
        "words",
        "forehand_plugins.encoders.words:Words",
        "one text token from words learned from scratch",
    )
    registry.add(
        "encoder",
        "keypoints",
        "forehand_plugins.encoders.keypoints:Keypoints",
        "camera tokens from learned keypoints, trained from scratch",
    )
    registry.add(
        "encoder",
        "asked_keypoints",
        "forehand_plugins.encoders.keypoints:AskedKeypoints",
        "camera tokens from keypoints, some of which the instruction asks for, trained from scratch",
    )
    registry.add(
        "world_model",
        "appearance_flow",
        "forehand_plugins.world_models.appearance_flow:AppearanceFlow",
        "the cameras' images some steps ahead, as the present ones moved: learned in minutes",
    )
    registry.add(
        "policy",
        "still",
        "forehand_plugins.reference:StillPolicy",
        "asks for nothing: a body to compare with, and a safe first command",
    )
    registry.add(
        "policy",
        "random",
        "forehand_plugins.reference:RandomPolicy",
        "uniformly random actions: what any policy must beat",
    )
    registry.add(
        "execution",
        "receding_horizon",
        "forehand.execution:RecedingHorizon",
        "the first actions of each chunk, then another look",
    )
    registry.add(
        "execution",
        "temporal_ensemble",
        "forehand.execution:TemporalEnsemble",
        "the weighted mean of what all recent chunks say about this step",
    )
    registry.add(
        "execution",
        "asynchronous",
        "forehand.execution:Asynchronous",
        "one chunk while the next is predicted, for policies slower than the robot",
    )
    registry.add(
        "door",
        "openpi",
        "forehand.wire.doors.openpi:OpenPiDoor",
        "openpi's websocket clients",
    )
    registry.add(
        "door",
        "gr00t",
        "forehand.wire.doors.gr00t:Gr00tDoor",
        "GR00T's ZeroMQ clients, of N1.5 and of N1.6 and later",
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_plugins.conf"
