"""Registration of LIBERO: its environment, robot and benchmark."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "environment", "libero", "forehand_libero.environment:libero", "LIBERO and LIBERO-PRO: robot and benchmark libero"
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_libero.conf"
