"""The command line: each verb parses one configuration and calls one function."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Any

from spikedet.cli.arguments import parse_config
from spikedet.cli.messages import did_you_mean, prepare_streams, print_error, print_messages
from spikedet.cli.preparation import prepared
from spikedet.cli.signals import Ended, ended_by_signals
from spikedet.commands import COMMANDS, perform
from spikedet.common.errors import ConfigError, SpikedetError

_ROOM = "make room, or choose another --out; --resume goes on"
_RIGHTS = "it or a folder above it may not be used by you; check their permissions"
REFUSALS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EROFS), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _RIGHTS),
}
"""What to do about what libraries may meet while they read, and write logs of their own."""
NO_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory", "out of memory")
"""What torch's RuntimeErrors say where Python's own is a MemoryError: of Linux, of Windows, of a GPU."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit status. An error of ours is one sentence, never a stack trace."""
    prepare_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"spikedet {importlib.metadata.version('spikedet')}")
        return 0
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    if name is None:
        return _unknown(words)
    print_messages()
    try:
        with ended_by_signals():
            run(name, words[name.count(" ") + 1 :])
    except SpikedetError as error:
        print_error(f"spikedet {name}: {error}")
        return 1
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(text in str(error) for text in NO_MEMORY):
            raise
        print_error(f"spikedet {name}: not enough memory; try a smaller --batch or fewer images")
        return 1
    except BrokenPipeError:  # whoever read our output has gone, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print_error(f"spikedet {name}: {where}{error.strerror}; {REFUSALS[error.errno]}")
        return 1
    except KeyboardInterrupt as error:
        print(f"\nspikedet {name}: interrupted; what was written is whole", file=sys.stderr)
        return error.status if isinstance(error, Ended) else 130
    return 0


def _unknown(words: list[str]) -> int:
    """Say what is wrong with words that begin with no command; returns the exit status."""
    first, second = words[0], " ".join(words[1:2])
    group = {name.split()[1]: name for name in COMMANDS if name.startswith(f"{first} ")}
    if group and second in ("-h", "--help"):
        print(usage(list(group.values())))
        return 0
    if group:
        print_error(f"spikedet: {first} needs one of: {', '.join(group)}{did_you_mean(second, group)}")
    else:
        hint = did_you_mean(f"{first} {second}", COMMANDS) or did_you_mean(first, COMMANDS)
        print_error(f"spikedet: unknown command {first!r}{hint or '; spikedet --help lists the commands'}")
    return 2


def run(name: str, arguments: list[str]) -> Any:
    """Parse a verb's configuration and call its function, together with the other processes of a torchrun."""
    verb = COMMANDS[name]
    config = getattr(importlib.import_module("spikedet.config"), verb.config)
    parsed = prepared(parse_config(config, name, verb.positional, arguments))
    processes = importlib.import_module("spikedet.common.distributed")  # torch is slow to import: not for --help
    if processes.started_by_torchrun() and not verb.shared:
        shared = ", ".join(known for known, other in COMMANDS.items() if other.shared)
        raise ConfigError(f"this command is one process; under torchrun run one of {shared}")
    with processes.joined():
        return perform(name, parsed)


def usage(names: Sequence[str] = tuple(COMMANDS)) -> str:
    """The list of verbs."""
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {COMMANDS[name].summary}" for name in names]
    head = "spikedet: Tiny-YOLO detectors as spiking networks\n\nusage: spikedet VERB ..."
    tail = "spikedet VERB --help shows a verb's usual settings, --help-all all; --config FILE.yaml sets any of them."
    return "\n".join([head, "", *lines, "", tail])
