"""Frames from files, cameras and addresses, boxes followed through them, and videos written in one step."""

from spikedet.video.latest import LatestFrame as LatestFrame
from spikedet.video.reading import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from spikedet.video.reading import Frame as Frame
from spikedet.video.reading import FrameReader as FrameReader
from spikedet.video.reading import Source as Source
from spikedet.video.reading import open_frames as open_frames
from spikedet.video.reading import parse_source as parse_source
from spikedet.video.tracking import ByteTracker as ByteTracker
from spikedet.video.tracking import import_trackers as import_trackers
from spikedet.video.writing import VideoWriter as VideoWriter
from spikedet.video.writing import video_writer as video_writer
