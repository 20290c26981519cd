"""Changes to the contents of files, such as broken disks, broken tools and bad intent make them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import Any

import yaml

TOKENS = (b"nan", b"-1", b"0", b"1e999", b"99999999999999999999", b"null", b"[]", b"{}", b'""', b"../../etc/passwd")
VALUES: tuple[Any, ...] = (None, -1, 0, 1, 10**9, 1.5, float("nan"), "x", "../..", [], {}, True, [1] * 3, "9" * 40)
CYCLE: list[Any] = []
CYCLE.append(CYCLE)
BOMB: list[Any] = [1] * 10
for _ in range(9):
    BOMB = [BOMB] * 10
ALIASED = (CYCLE, [8, 3, CYCLE], BOMB, [-1, 1, "Conv", BOMB])
"""What YAML can say with aliases: lists within themselves, and ten billion numbers in a few lines."""


def mutated(content: bytes, suffix: str, chance: random.Random) -> bytes:
    """A change to one value of what the file holds, where its form is known, or to its bytes."""
    if chance.random() < 0.6:
        try:
            return STRUCTURED[suffix](content, chance)
        except (KeyError, ValueError, yaml.YAMLError):
            pass
    return bytes_mutated(content, chance)


def bytes_mutated(content: bytes, chance: random.Random) -> bytes:
    """One to four changes: bytes flipped, cut, doubled or inserted, numbers and words replaced."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        reach = len(data) if chance.random() < 0.5 else min(len(data), 4096)  # half of them where headers are
        at, length = chance.randrange(max(reach, 1)), chance.randint(1, 12)
        match chance.randrange(7):
            case 0 | 1:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = chance.randbytes(length)
            case 4:
                data[at : at + length] = chance.choice(TOKENS)
            case 5:
                digits = [i for i in range(at, min(at + 400, len(data))) if chr(data[i]).isdigit()]
                if digits:
                    data[digits[0] : digits[0] + 1] = chance.choice([*TOKENS, b"1", b"7"])
            case _:
                if chance.random() < 0.3:
                    del data[at:]
    return bytes(data)


def value_mutated(content: Any, chance: random.Random, values: Sequence[Any] = VALUES) -> Any:
    """The same nested mappings and lists with one value replaced, dropped or doubled."""
    places: list[tuple[Any, Any]] = []
    todo = [content]
    while todo:
        item = todo.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else []
        places += [(item, key) for key in keys]
        todo += [item[key] for key in keys]
    if not places:
        return chance.choice(values)
    parent, key = chance.choice(places)
    action = chance.randrange(6)
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[key] = chance.choice(values)
    return content


def _json(content: bytes, chance: random.Random) -> bytes:
    return json.dumps(value_mutated(json.loads(content), chance)).encode()


def _yaml(content: bytes, chance: random.Random) -> bytes:
    return yaml.safe_dump(value_mutated(yaml.safe_load(content), chance, (*VALUES, *ALIASED))).encode()


def _safetensors(content: bytes, chance: random.Random) -> bytes:
    """The header, or within it one of our metadata texts."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if chance.random() < 0.8:
        key = chance.choice(sorted(header["__metadata__"]))
        text = value_mutated(json.loads(header["__metadata__"][key]), chance)
        header["__metadata__"][key] = json.dumps(text)
    else:
        header = value_mutated(header, chance)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _numbers(content: bytes, chance: random.Random) -> bytes:
    """One number of a text."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    one = chance.choice(found) if found else None
    return content if one is None else content[: one.start()] + chance.choice(TOKENS) + content[one.end() :]


STRUCTURED = {".json": _json, ".yaml": _yaml, ".safetensors": _safetensors, ".xml": _numbers, ".txt": _numbers}
