"""The commands' `--config=FILE:variant` flag: overrides by field, errors that name it, help that lists all.

`ml_collections.config_flags` does the loading and the typed overrides; it answers an unknown field with a bare
KeyError and lists no fields in its help, which is what this module adds.
"""

import ast
import dataclasses
import difflib
import importlib.util
import inspect
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

_HELP_FLAGS = ("--help", "-h", "--helpshort", "--helpfull")


def define_config(default: str | None = None):
    """Defines `--config`; the holder's `.value` is the built config once flags are parsed."""
    return config_flags.DEFINE_config_file(
        "config", default, "experiment file and variant, e.g. configs/ladder_cpu.py:smoke"
    )


def run(main: Callable[[Sequence[str]], None], *, usage: str | None) -> None:
    """Parses flags and calls main; a user's mistake ends with one line on stderr and exit status 2."""

    def parse(argv: Sequence[str]) -> list[str]:
        if any(arg in _HELP_FLAGS for arg in argv[1:]):
            _print_help("\n\n".join(filter(None, [(usage or "").strip(), _flag_table(), _field_table(argv)])))
            sys.exit(0)
        return _parse_or_exit(argv)

    def guarded(argv: Sequence[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # libraries tell every save and every font at INFO
        try:
            if "config" in flags.FLAGS and flags.FLAGS["config"].value is None:
                raise ValueError("give --config=FILE:variant, e.g. --config=configs/ladder_cpu.py (--help lists all)")
            if len(argv) > 1:
                raise ValueError(f"unexpected argument {argv[1]!r}; flags are written --name=value")
            main(argv)
        except (ValueError, FileNotFoundError) as error:
            _fail(error)

    app.run(guarded, flags_parser=parse)


def _print_help(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # piped into a pager or `head` that has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: BaseException | str) -> None:
    if "--debug" in sys.argv and isinstance(error, BaseException):
        raise error
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


flags.DEFINE_bool("debug", False, "show the whole traceback of an error")


def _parse_or_exit(argv: Sequence[str]) -> list[str]:
    try:
        _check_overrides(argv)
        return flags.FLAGS(argv, known_only=False)
    except (flags.Error, ValueError, OSError) as error:
        _fail(error)
        raise  # unreachable: _fail ends the process


def load(given: str) -> Any:
    """The config that `FILE:variant` builds, without overrides.

    Raises:
      ValueError: no such file, no `get_config` in it, or it refuses the variant.
    """
    path, _, variant = given.partition(":")
    if not pathlib.Path(path).is_file():
        raise ValueError(f"--config={given}: no file {path!r}; give an experiment file, e.g. configs/ladder_cpu.py")
    spec = importlib.util.spec_from_file_location("rlscale_config", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"--config={given}: the file defines no get_config(variant)")
    return module.get_config(variant) if variant else module.get_config()


def _check_overrides(argv: Sequence[str]) -> None:
    """Raises ValueError for the first --config.FIELD=VALUE that is wrong: what was given and what is allowed."""
    config = _config_of(argv)
    overrides = [a.lstrip("-").removeprefix("config.") for a in argv[1:] if a.startswith(("--config.", "-config."))]
    if config is None:
        if overrides:
            raise ValueError(f"--config.{overrides[0]}: give --config=FILE before its fields")
        return
    known = dict(_fields(config))
    for override in overrides:
        name, separator, value = override.partition("=")
        if name not in known:
            raise ValueError(_unknown_field(name, known, config))
        if not separator:
            raise ValueError(f"--config.{name}: write --config.{name}=VALUE")
        if not _parses(value, type(known[name])):
            raise ValueError(f"--config.{name}={value}: expected {type(known[name]).__name__}, such as {known[name]!r}")


def _config_of(argv: Sequence[str]) -> Any:
    given = [a.split("=", 1)[1] for a in argv[1:] if a.startswith(("--config=", "-config="))]
    return load(given[-1]) if given else None


def _unknown_field(name: str, known: dict[str, Any], config: Any) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    inside = [field for field in known if field.startswith(name + ".")]
    if inside:
        return f"--config.{name}: a group of fields; set one of {', '.join(inside)}"
    hint = f"; did you mean --config.{close[0]}?" if close else f"; fields: {', '.join(known)}"
    if hasattr(config, "members"):
        hint += " (this is a study; a field of all its members is set by --sweep=field=value)"
    return f"--config.{name}: no such field{hint}"


def _parses(value: str, kind: type) -> bool:
    if kind is bool:
        return value.lower() in ("true", "false", "0", "1")
    try:
        kind(value) if kind in (int, float, str) else ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return False
    return True


def _fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf of nested dataclasses."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value


def _field_table(argv: Sequence[str]) -> str:
    if "config" not in flags.FLAGS:
        return ""
    config = _config_of(argv)
    if config is None:
        return "Give --config=FILE with --help to list its fields."
    notes = _comments(config)
    lines = []
    for name, value in _fields(config):
        shown = f"({len(value)} members)" if name == "members" else repr(value)
        lines.append(f"  --config.{name}={shown}" + (f"   # {notes[name]}" if notes.get(name) else ""))
    return "Fields of the config (name = value here):\n" + "\n".join(lines)


def _comments(config: Any, prefix: str = "") -> dict[str, str]:
    """The comment behind each field in the dataclass's source."""
    notes = {}
    for line in inspect.getsource(type(config)).splitlines():
        name, _, rest = line.strip().partition(":")
        if "  # " in rest:
            notes[prefix + name] = rest.split("  # ", 1)[1]
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            notes |= _comments(value, f"{prefix}{item.name}.")
    return notes


def _flag_table() -> str:
    """The command's own flags (absl's are left out)."""
    own = flags.FLAGS.flags_by_module_dict()
    rows = [
        f"  --{flag.name}={flag.default}   # {flag.help}"
        for module, members in own.items()
        if module == sys.argv[0] or module.startswith(("rlscale_jax", "__main__"))
        for flag in members
    ]
    return "Flags:\n" + "\n".join(dict.fromkeys(rows))
