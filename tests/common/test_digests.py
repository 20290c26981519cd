"""Digests: as the standard has them, and of a value whatever the order it was made in."""

from pathlib import Path

from spikedet.common.digests import file_sha256, json_sha256


def test_digests_are_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert json_sha256({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of "{}"


def test_the_order_of_keys_does_not_count_and_that_of_lists_does() -> None:
    assert json_sha256({"a": 1, "b": [1, 2]}) == json_sha256({"b": [1, 2], "a": 1})
    assert json_sha256([1, 2]) != json_sha256([2, 1])
