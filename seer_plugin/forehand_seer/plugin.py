"""Registration of the Seer parts."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "vision_tower",
        "seer/mae_vit",
        "forehand_seer.mae_vit:MaskedAutoencoderViT",
        "a frozen vision transformer, pre-trained as a masked autoencoder",
    )
    registry.add(
        "encoder",
        "seer/resampler",
        "forehand_seer.resampler:Resampler",
        "camera tokens that learned latents gather from a vision tower's patches",
    )
    registry.add(
        "encoder",
        "seer/clip_text",
        "forehand_seer.clip_text:CLIPText",
        "one text token from CLIP's feature of the instruction",
    )
    registry.add(
        "encoder",
        "seer/state",
        "forehand_seer.state:State",
        "one token from the states of arm and gripper",
    )
    registry.add(
        "backbone",
        "seer/backbone",
        "forehand_seer.backbone:TimestepTransformer",
        "a GPT-2 style transformer with one learned embedding a timestep",
    )
    registry.add(
        "world_model",
        "seer/foresight",
        "forehand_seer.foresight:Foresight",
        "the cameras' images some steps ahead, painted patch by patch",
    )
    registry.add(
        "action_head",
        "seer/inverse_dynamics",
        "forehand_seer.inverse_dynamics:InverseDynamics",
        "a chunk of actions: regression for the arm, a probability for the gripper",
    )
    registry.add(
        "converter",
        "seer",
        "forehand_seer.convert:convert",
        "released checkpoints of Seer, with MAE's and CLIP's files",
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_seer.conf"
