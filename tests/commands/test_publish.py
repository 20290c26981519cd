"""Weights to give away: float16, nothing of this machine, a card that says what they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_detector import T, chain, sample_images

from spikedet.checkpoint import load_checkpoint, read_meta, save_checkpoint
from spikedet.commands.publish import card as model_card
from spikedet.commands.publish import changed_settings, publish
from spikedet.common import resources
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.common.resources import find_weights
from spikedet.config import FinetuneConfig, PublishConfig
from spikedet.evaluation import read_results
from spikedet.inference.detector import SpikingDetector


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("published")
    config = PublishConfig(
        checkpoint=str(chain()["fine"]), out=str(out / "net.safetensors"), data=str(sample_images()), split="test",
        t="2,4", results=str(out / "results"),
    )  # fmt: skip
    weights, card, _ = publish(config)
    return weights, card


def test_half_the_bytes_and_nearly_the_same_values(published: tuple[Path, Path]) -> None:
    theirs, _ = load_checkpoint(published[0])
    ours, _ = load_checkpoint(chain()["fine"])
    assert all(torch.allclose(theirs[name], ours[name], rtol=1e-3, atol=1e-6) for name in ours)
    assert not all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_the_training_data_are_found_without_being_named(tmp_path: Path) -> None:
    """The file that is written has no path any more; the checkpoint that it comes from has."""
    config = PublishConfig(checkpoint=str(chain()["copied"]), out=str(tmp_path / "net.safetensors"), split="test",
                           results=str(tmp_path / "results"))  # fmt: skip
    assert all(path.exists() for path in publish(config))


def test_nothing_is_written_if_there_is_nothing_to_judge_on(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(chain()["copied"])
    meta.data.update(data=str(tmp_path / "labels.json"), split="train")
    checkpoint = save_checkpoint(tmp_path / "copied.safetensors", tensors, meta)
    out = tmp_path / "published" / "net.safetensors"
    with pytest.raises(ConfigError, match="one COCO file is one split"):
        publish(PublishConfig(checkpoint=str(checkpoint), out=str(out), split="test"))
    assert not out.parent.exists()


def test_no_path_of_this_machine_is_left(published: tuple[Path, Path]) -> None:
    meta = read_meta(published[0])
    text = json.dumps(vars(meta), default=str) + published[1].read_text()
    assert str(sample_images().parent) not in text and str(Path.home()) not in text and "/tmp" not in text
    assert (meta.stage, meta.T, meta.data["data"]) == ("fine", T, sample_images().name)
    assert meta.parent is not None and meta.parent["file"] == "copied.safetensors"
    assert "layers" not in meta.notes


def test_the_card_says_what_it_is(published: tuple[Path, Path]) -> None:
    weights, card = published
    assert card == weights.with_suffix(".md")
    text = card.read_text()
    for said in ("# net", "T = 4", "64 px", "AGPL", "Limits", "circle", "train", "calibrate: ", "--images 6"):
        assert said in text, said
    assert "read out early at t < T" in text
    assert " M parameters, " in text and "| circle | " in text


def test_the_card_names_whose_weights_it_was_trained_from() -> None:
    meta = replace(read_meta(chain()["ann"]), credits=("Somebody's net, MIT",))
    assert "- Trained from the weights of Somebody's net, MIT." in model_card("name", meta, "", 1.0)


def test_the_rows_lie_beside_it(published: tuple[Path, Path]) -> None:
    meta, rows = read_results(published[0].with_suffix(".json"))
    assert meta["sha256"] == file_sha256(published[0])
    assert [(row.stage, row.t) for row in rows] == [("fine", 2), ("fine", 4)]


def test_settings_that_differ_from_their_defaults() -> None:
    meta = read_meta(chain()["fine"])
    assert changed_settings(meta, "calibrate") == "--images 6 --epochs 2 --batch 4 --lr 0.001 --crop 3"
    assert changed_settings(meta, "finetune") == ""
    meta.config["finetune"] = vars(FinetuneConfig(checkpoint="a"))
    assert changed_settings(meta, "finetune") == "defaults"
    meta.config["finetune_before"] = vars(FinetuneConfig(checkpoint="a", lr=0.5))
    assert "- finetune_before: --lr 0.5\n- finetune: defaults" in model_card("name", meta, "", 1.0)


def test_shipped_weights_have_names(monkeypatch: pytest.MonkeyPatch, published: tuple[Path, Path]) -> None:
    folder = published[0].parent
    monkeypatch.setattr(resources, "resource_folder", lambda _: folder)
    assert find_weights("net") == published[0]
    assert find_weights("x/y.safetensors") == Path("x/y.safetensors")
    assert SpikingDetector.load("net").T == T
    with pytest.raises(CheckpointError, match=r"nothing: no such checkpoint; .* shipped one: net"):
        find_weights("nothing")
