"""Requirements of a recording: sizes, rate and encoding that can be written, checked before the first frame."""

from __future__ import annotations

from forehand.contracts.contract import Contract, check_sizes
from forehand.errors import DatasetError
from forehand.utils.video import Encoding, require_encodable

LARGEST_RATE = 10_000
"""Hz: timestamps are float32 seconds, which distinguish frames of a minute up to here."""

LARGEST_PICTURE = 2**26
"""Pixels, such as 8192 × 8192: more than a video of any level of H.264 has."""


def require_recordable(contract: Contract, encoding: Encoding | None) -> None:
    """Raise :class:`DatasetError` or :class:`ConfigurationError` unless frames of ``contract`` can be written.

    encoding: of videos, None where images are kept as files. One black frame of each camera is encoded as a trial.
    """
    rate = integer_rate(contract)
    try:
        check_sizes(contract)
    except ValueError as error:
        raise DatasetError(f"The contract cannot be recorded: {error}. Correct the shapes that are stated.") from error
    for camera in contract.cameras:
        if not 0 < camera.height * camera.width <= LARGEST_PICTURE:
            raise DatasetError(
                f"Camera {camera.name!r} is stated to have pictures of {camera.height} × {camera.width}; recorded are "
                f"those of 1 to {LARGEST_PICTURE} pixels. Correct the shape that is stated."
            )
        if encoding is not None:
            require_encodable(rate, camera.height, camera.width, encoding, f"camera {camera.name!r}")


def integer_rate(contract: Contract) -> int:
    """The control rate, which LeRobot's format needs to be a whole number of Hz; raises :class:`DatasetError`."""
    if contract.rate != int(contract.rate) or not 1 <= contract.rate <= LARGEST_RATE:
        raise DatasetError(
            f"LeRobotDataset needs a whole number of frames a second, not {contract.rate:g} Hz, and at "
            f"most {LARGEST_RATE}."
        )
    return int(contract.rate)
