"""Frame store: resized frames of cameras, kept in shards of raw pixels or JPEG, or decoded from the recording."""

from forehand.data.frame_store.open_store import FrameRequest, OpenedFrames, open_frame_store
from forehand.data.frame_store.options import EXACT, FrameStore, parse_bytes

__all__ = ["EXACT", "FrameRequest", "FrameStore", "OpenedFrames", "open_frame_store", "parse_bytes"]
