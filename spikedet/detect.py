"""Boxes on pictures and folders of pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from spikedet.config import DetectConfig, parse_time_steps
from spikedet.data.images import PICTURE_SUFFIXES, read_image
from spikedet.detector import SpikingDetector
from spikedet.errors import ConfigError, DataError
from spikedet.files import write_json
from spikedet.progress import track
from spikedet.visualization import beside, draw_detections, save_picture

SUFFIXES = frozenset(PICTURE_SUFFIXES)


def detect(config: DetectConfig) -> Path:
    """Draw the detections of every picture and write them to ``OUT/detections.json``.

    Several time steps are drawn side by side, earliest left. A picture that cannot be read is named at the end; the
    others are done all the same.

    Returns:
        The path of ``detections.json``: ``{picture: {t: [records]}}``.

    Raises:
        DataError: nothing to read, or (after the others are done) a picture that could not be read.
    """
    pictures = _pictures(Path(config.source))
    detector = SpikingDetector.load(config.weights, config)
    print(detector, flush=True)
    out = Path(config.out)
    if out.resolve() == pictures[0].resolve().parent:
        raise ConfigError(f"--out {out} is the folder of the pictures; choose another one, so that none is overwritten")
    stems = Counter(path.stem for path in pictures)
    steps = parse_time_steps(config.t)
    found, broken = {}, []
    for path in track(pictures, "detecting"):
        try:
            image = read_image(path)
        except DataError as error:
            broken.append(str(error))
            continue
        if config.stable_steps:
            *_, last = detector.stream(
                image, steps, confidence=config.confidence, iou=config.iou, stable_steps=config.stable_steps
            )
            by_step = dict([last])
        else:
            by_step = detector(image, steps or None, confidence=config.confidence, iou=config.iou)
        drawn = [draw_detections(image, detections, detector.class_names) for detections in by_step.values()]
        name = path.stem if stems[path.stem] == 1 else path.name
        save_picture(out / f"{name}.png", beside(drawn))
        found[str(path)] = {str(t): d.to_records(detector.class_names) for t, d in by_step.items()}
    result = write_json(out / "detections.json", found)
    print(f"{len(found)} pictures drawn, boxes in {result}", flush=True)
    if broken:
        raise DataError(f"{len(broken)} of {len(pictures)} pictures could not be read, the first: {broken[0]}")
    return result


def _pictures(source: Path) -> list[Path]:
    if source.is_dir():
        pictures = sorted(p for p in source.iterdir() if p.suffix.lower() in SUFFIXES)
        if not pictures:
            raise DataError(f"{source}: no pictures in this folder; expected {', '.join(sorted(SUFFIXES))}")
        return pictures
    if not source.exists():
        raise DataError(f"{source}: no such picture or folder")
    return [source]
