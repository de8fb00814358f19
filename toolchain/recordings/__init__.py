"""Event recordings: what cameras and skins of others write, as events and as frames for networks."""

from toolchain.recordings.events import Events
from toolchain.recordings.folder import read_frames
from toolchain.recordings.framing import Framing, frames
from toolchain.recordings.read import read_events

__all__ = ["Events", "Framing", "frames", "read_events", "read_frames"]
