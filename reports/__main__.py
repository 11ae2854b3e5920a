"""The command line: ``python -m reports`` or ``lemmata``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

_EXAMPLES = """\
examples:
  lemmata                                     check every claim (resuming what was interrupted), write the reports
  lemmata check -k modes --mutants all        check the claims whose id contains "modes", with every mutant
  lemmata list --verdict refuted              what is wrong in the papers
  lemmata show modes.fractional-rate          one claim with its evidence
  lemmata why modes.fractional-rate           what it rests on
  lemmata try modes.fractional-rate --set depth=8 q=1.3
                                              theory against simulation at your own parameters
  lemmata build                               write the pages again from the ledger
  lemmata data cifar10 --from ~/Downloads     make a data set known to the experiments that want it
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} given, allowed: a whole number >= 1")
    return int(text)


def _mutants(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} given, allowed: a whole number >= 0, or all")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = _Parser(
        prog="lemmata",
        description="Check the claims of two theory papers and report what may be concluded.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _running(top)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    check = commands.add_parser("check", help="check claims, reuse what is up to date")
    check.add_argument("-k", dest="expression", metavar="EXPR", help="only claims whose id contains one of these words")
    _running(check, again=True)
    listing = commands.add_parser("list", help="list claims with their verdicts")
    listing.add_argument("--verdict", metavar="V", help="only this verdict, for example refuted")
    listing.add_argument("--family", metavar="F", help="only this family, the part of an id before the dot")
    listing.add_argument("--json", action="store_true", help="print JSON (schema 1)")
    show = commands.add_parser("show", help="show one claim with its evidence")
    why = commands.add_parser("why", help="show what a claim rests on, with verdicts")
    trial = commands.add_parser("try", help="run one claim at your own parameters")
    for one in (show, why, trial):
        one.add_argument("claim", metavar="ID", help="a claim id, see `lemmata list`")
    trial.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="parameters, for example depth=8"
    )
    trial.add_argument("--device", default="cpu", help="where to simulate: cpu, cuda or auto")
    build = commands.add_parser("build", help="write pages and figures from the ledger")
    build.add_argument("--into", metavar="FOLDER", help="write them there and leave the checkout alone")
    data = commands.add_parser("data", help="list the data sets on this machine, or get one")
    data.add_argument("name", nargs="?", metavar="NAME", help="a data set to get: cifar10")
    data.add_argument("--from", dest="source", metavar="FOLDER", help="read this local copy instead of downloading it")
    for one in (listing, show, why, build):
        one.add_argument("--ledger", metavar="FILE", help="read this ledger, not the committed one")
    return top


def _running(target: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Options of a run; on the command they are not allowed to overwrite what stood before it."""

    def add(*names: str, default: object, **how: object) -> None:
        target.add_argument(*names, default=argparse.SUPPRESS if again else default, **how)  # type: ignore[arg-type]

    add("--all", action="store_true", default=False, help="run the slow checks too")
    add("--device", default="cpu", metavar="D", help="where networks are simulated: cpu, cuda or auto")
    add("--mutants", type=_mutants, default=-1, metavar="N|all", help="automatic mutants tried per claim")
    add("--fresh", action="store_true", default=False, help="reuse nothing, check again")
    add("-j", dest="jobs", type=_count, default=None, metavar="N", help="processes (by default one a core, at most 8)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, 1 where a claim is defective or a verdict changed, 2 on bad input, 130 on Ctrl-C."""
    # Before the first import of numpy: pools of threads slow small matrices down and change the order of sums.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    try:
        options = parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    from reports import commands

    run: Callable[[argparse.Namespace], int] = {
        None: commands.everything,
        "check": commands.check,
        "list": commands.listing,
        "show": commands.show,
        "why": commands.why,
        "try": commands.trial,
        "build": commands.build,
        "data": commands.data,
    }[options.command]
    try:
        return run(options)
    except KeyboardInterrupt:
        print(commands.interrupted(options), file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ValueError as error:
        print(f"lemmata: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
