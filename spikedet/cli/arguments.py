"""Configuration dataclasses as command-line flags: one flag per field, help from its docstring, YAML by --config."""

from __future__ import annotations

import itertools
import re
import sys
import typing
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from docstring_parser import parse as parse_docstring
from jsonargparse import SUPPRESS, ActionYesNo, ArgumentParser

from spikedet.cli.messages import did_you_mean
from spikedet.config.checks import flag_name

Config = TypeVar("Config")

ALIASES = {"model": ("--from",)}
"""Further names of flags, by field."""

HELP_ALL = "--help-all"
_UNKNOWN = re.compile(r"unrecognized arguments: (?P<flag>-[^\s=]+)|Option '(?P<key>[^']+)' is not accepted")
"""What jsonargparse says of flags, and of keys in a YAML file, that a command does not have."""


class _Parser(ArgumentParser):
    """Its errors name the setting that was probably meant; settings without a flag are read from files alone."""

    file_only: frozenset[str] = frozenset()

    def parse_args(self, args: Sequence[str], *others: Any, **more: Any) -> Any:  # type: ignore[override]
        for flag in (word.partition("=")[0] for word in args if word.startswith("--")):
            name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
            if name in self.file_only:
                self.error(f"{flag} has no flag: write '{name}: ...' into a YAML file and name it with --config")
        return super().parse_args(list(args), *others, **more)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if found := _UNKNOWN.search(message):
            flags = [flag for action in self._actions for flag in action.option_strings]
            keys = [action.dest for action in self._actions]
            message += did_you_mean(found["flag"], flags) if found["flag"] else did_you_mean(found["key"], keys)
        super().error(message, ex)


def make_parser(config: type[Any], verb: str, positional: str | None = None, *, brief: bool = False) -> ArgumentParser:
    """A parser whose flags are the fields of a configuration dataclass.

    Args:
        config: the dataclass; a field's documentation under ``Attributes:`` becomes its help.
        verb: name of the command.
        positional: a field given without a flag; a tuple field takes several values.
        brief: its help shows the dataclass's ``basic`` settings only, where it names some.
    """
    summary, helps = documentation(config)
    basic = set(config.basic.split()) if brief else set()
    file_only = set(config.file_only.split())
    hidden = {f.name for f in fields(config)} - basic - {positional} - file_only if basic else set()
    keys = "; ".join(f"{f.name}: {helps[f.name].rstrip('.')}" for f in fields(config) if f.name in file_only)
    more = f"{HELP_ALL} shows {len(hidden)} more settings." if hidden else f"In a --config file alone: {keys}."
    parser = _Parser(
        prog=f"spikedet {verb}", description=summary, epilog=more if hidden or keys else None, allow_abbrev=False
    )
    parser.file_only = frozenset(file_only)
    parser.add_argument("--config", action="config", help="YAML file with any of the settings")
    types = typing.get_type_hints(config)
    for item in fields(config):
        text, hint = SUPPRESS if item.name in hidden | file_only else helps.get(item.name, ""), types[item.name]
        many = typing.get_origin(hint) is tuple
        default = None if item.default is MISSING else item.default
        if item.name == positional:
            how: dict[str, Any] = {"nargs": "*"} if many else {"nargs": "?", "type": str}  # a file may give one text
            parser.add_argument(item.name, default=default, help=text, **how)
            continue
        flag = flag_name(item.name)
        if hint is bool:
            parser.add_argument(flag, action=ActionYesNo(no_prefix="no-"), default=default, help=text)
        else:
            parser.add_argument(flag, *ALIASES.get(item.name, ()), type=hint, default=default, help=text)
    return parser


def parse_config(config: type[Config], verb: str, positional: str | None, arguments: list[str]) -> Config:
    """The configuration that a command line asks for; prints help or one error line and exits where it must."""
    brief = HELP_ALL not in arguments
    parser = make_parser(config, verb, positional, brief=brief)
    arguments = arguments if brief else [*(word for word in arguments if word != HELP_ALL), "--help"]
    in_files = _read_files(parser, arguments)
    values = parser.parse_args(arguments).as_dict()
    values.pop("config", None)
    if positional and not values.get(positional):  # argparse puts the missing argument over the file's setting
        values[positional] = in_files.get(positional, values[positional])
    if positional and typing.get_origin(typing.get_type_hints(config)[positional]) is tuple:
        given = values[positional]
        several = given if isinstance(given, list) else [] if given is None else [given]
        values[positional] = tuple(map(str, several))
    required = [f.name for f in fields(config) if f.default is MISSING]  # type: ignore[arg-type]
    for name in required:
        if not values.get(name):
            parser.print_usage(sys.stderr)
            shown = name if name == positional else flag_name(name)
            raise SystemExit(f"spikedet {verb}: {shown} is missing")
    return config(**values)


def _read_files(parser: ArgumentParser, arguments: list[str]) -> dict[str, Any]:
    """The settings in files; one error line for what jsonargparse has none: no mapping, a list for time steps."""
    found: dict[str, Any] = {}
    after = [value for flag, value in itertools.pairwise(arguments) if flag == "--config"]
    for file in [*after, *(word.partition("=")[2] for word in arguments if word.startswith("--config="))]:
        try:
            settings = yaml.safe_load(Path(file).read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue  # jsonargparse says what is wrong
        if not isinstance(settings, dict):
            parser.error(f"{file}: expected a mapping of settings, for example 'T: 8'")
        if isinstance(t := settings.get("t"), list):
            parser.error(f"{file}: t is one text; write t: {','.join(map(str, t))!r}")
        found |= settings
    return found


def documentation(config: type[Any]) -> tuple[str, dict[str, str]]:
    """A dataclass's summary and its fields' documentation, those of its bases included."""
    helps: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if base.__doc__ and base is not object:
            helps.update({p.arg_name: p.description or "" for p in parse_docstring(base.__doc__).params})
    return parse_docstring(config.__doc__ or "").short_description or "", helps
