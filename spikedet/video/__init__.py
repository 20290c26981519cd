"""Frames from files, cameras and addresses, boxes followed through them, and videos written in one step."""

from spikedet.video.latest import LatestFrame
from spikedet.video.reading import VIDEO_SUFFIXES, Frame, FrameReader, Source, open_frames, parse_source
from spikedet.video.tracking import ByteTracker, Tracker, import_trackers
from spikedet.video.writing import VIDEO_FORMATS, VideoWriter, video_writer

__all__ = [
    "VIDEO_FORMATS",
    "VIDEO_SUFFIXES",
    "ByteTracker",
    "Frame",
    "FrameReader",
    "LatestFrame",
    "Source",
    "Tracker",
    "VideoWriter",
    "import_trackers",
    "open_frames",
    "parse_source",
    "video_writer",
]
