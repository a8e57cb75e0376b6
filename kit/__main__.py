"""The command line: `python -m kit twin | merge | predict | explain | next | check | score | board`.

Exit code 0: good; 1: the input is bad (one line on stderr); 2: wrong usage.
"""

import argparse
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from . import __version__
from .competition import load_competition
from .io.files import InputError, printable, quote_some
from .io.hdf5 import interruptible
from .io.progress import progress
from .submission import check_submission, score_submission, write_submission

ADVICE = {
    ImportError: "install it with pip, or run `make env` and .venv/bin/python",
    MemoryError: "not enough memory; is a file corrupt?",
}


def twin(args: argparse.Namespace) -> None:
    check_place(args.folder)
    print(f"simulating a competition in {args.folder}", file=sys.stderr)
    from .twin import simulate

    print(simulate(args.folder, size=args.size, seed=args.seed, null=args.null))


def merge(args: argparse.Namespace) -> None:
    check_place(args.out)
    competition, layouts = _competition(args), {}
    from concurrent.futures import ProcessPoolExecutor
    from contextlib import nullcontext
    from multiprocessing import get_context

    from .screens import merge

    for text in args.layout:
        file, _, layout = text.rpartition("=")
        layouts |= dict.fromkeys([file] if file else args.files, layout)
    # Threads of HDF5 and numba do not survive a fork.
    several = args.workers > 1
    pool = ProcessPoolExecutor(args.workers, get_context("spawn")) if several else nullcontext()
    with pool as executor:
        merged = merge(
            args.files,
            competition,
            args.out,
            layouts=layouts,
            names=args.hgnc,
            min_cells=args.min_cells,
            budget=args.budget_mb * 10**6,
            executor=executor,
            cells=not args.no_cells,
        )
    print(merged.coverage.T.to_string())
    for remark in merged.remarks:
        print(printable(remark))
    print(*filter(None, (merged.responses, merged.cells)), sep="\n")


def _competition(args):
    """The competition that a command names, after a line that it is read and one on what it holds."""
    print("reading the competition", file=sys.stderr)
    competition = load_competition(args.data)
    rows, genes = competition.effects.shape
    released = 0 if competition.solution is None else len(competition.solution)
    line = f"competition: {competition.source.name}, {rows} training rows x {genes} genes, "
    line += f"{len(competition.targets)} targets, {released} of them with released truth"
    print(printable(line), file=sys.stderr)
    return competition


def _read(args, lines=None):
    """The competition and the knowledge that a command names; `lines`: where remarks on it go."""
    competition = _competition(args)
    from .knowledge import gather  # a second's imports come after the first line

    with progress("reading pathways and screens"):
        knowledge = gather(competition, pathways=args.pathways, atlas=args.atlas)
    print(*knowledge.remarks, sep="\n", file=lines, flush=True)
    return competition, knowledge


def check_place(path: Path | str) -> None:
    """Raise InputError where a path to write is not in a folder, or in a new one beside others.

    Before the work and not after it; a chain of folders that do not exist is a mistyped path.
    """
    folder = Path(path).absolute().parent
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write {path}: {folder} is a file; choose a folder")
    if not folder.is_dir() and not folder.parent.is_dir():
        step = f"is the path right? else run: mkdir -p {shlex.quote(str(folder))}"
        raise InputError(f"cannot write {path}: {folder.parent} does not exist; {step}")
    if not os.access(folder if folder.is_dir() else folder.parent, os.W_OK):
        raise InputError(f"cannot write {path}: no right to write there; choose a writable folder")


def predict(args: argparse.Namespace) -> None:
    for place in filter(None, (args.out, args.uncertainty)):
        if Path(place).is_dir():
            raise InputError(f"{place} is a folder; give the path of a file to write")
        check_place(place)
    competition, knowledge = _read(args)
    from .forecast.intervals import target_intervals, write_intervals
    from .forecast.predict import baseline_forecast, forecast

    written = []
    if args.uncertainty:
        ends, remark = target_intervals(competition, knowledge, args.level, seed=args.seed)
    if args.baseline:
        found = baseline_forecast(competition, args.baseline, seed=args.seed)
    else:
        found = forecast(competition, knowledge, seed=args.seed, minutes=args.minutes)
    if args.uncertainty:
        where = write_intervals(ends, found.prediction, competition, args.uncertainty)
        written = [remark, where]
    path = write_submission(found.prediction, competition, args.out)
    print(*found.remarks, *written, path, sep="\n")


def explain(args: argparse.Namespace) -> None:
    names, gene = [args.perturbation], args.gene
    if args.target:
        names, gene = args.target, args.perturbation
        print("warning: --target is deprecated; want PERTURBATION --gene GENE", file=sys.stderr)
    competition, knowledge = _read(args, sys.stderr if args.json else sys.stdout)
    from .forecast.explanation import explain, refit_without
    from .forecast.explanation_text import as_record, as_text, gene_as_text

    found = [explain(competition, name, knowledge, seed=args.seed) for name in names]
    refit = args.refit and not gene
    refits = [refit_without(one, knowledge, seed=args.seed) if refit else None for one in found]
    both = list(zip(found, refits, strict=True))
    if args.json:
        genes = [gene] if gene else ()
        print(json.dumps([as_record(one, refit, genes) for one, refit in both]))
        return
    for one, refit in both:
        print("", gene_as_text(one, gene) if gene else as_text(one, refit), sep="\n")


def propose(args: argparse.Namespace) -> None:
    competition = _competition(args)
    from .forecast.next_perturbations import propose, read_words
    from .knowledge import load_pathways

    among = None if args.among is None else read_words(args.among)
    options = {"folder": competition.source, "competition": competition}
    with progress("reading pathways"):
        pathways = load_pathways(*args.pathways, **options)
    print(*map(printable, pathways.provenance["line"]), sep="\n", file=sys.stderr)
    table = propose(competition, pathways, args.number, candidates=among)
    shares = dict.fromkeys(("gain", "left"), "{:.2%}".format)
    print(table.to_string(formatters=shares))
    known = 1 - table[["gain", "left"]].head(1).to_numpy().sum()
    legend = (
        f"the training rows remove {known:.2%} of the uncertainty about the targets; gain: what "
    )
    legend += "the measurement removes, left: what is left after it and those above; informs: the "
    print(f"{legend}targets of which it explains most", file=sys.stderr)


def check(args: argparse.Namespace) -> None:
    competition = _competition(args)
    for warning in check_submission(args.file, competition):
        print(f"warning: {warning}")
    genes = competition.effects.shape[1]
    print(f"{args.file}: valid, {len(competition.submission_ids)} ids x {genes} genes")


def score(args: argparse.Namespace) -> None:
    result, left_out = score_submission(args.file, args.solution, gate=args.gate)
    if left_out:
        print(f"left out, not in the solution: {quote_some(left_out)}", file=sys.stderr)
    if args.json:
        keys = ("score", "w", "wcos", "rows", "score_per_60")
        print(json.dumps({key: getattr(result, key) for key in keys}))
    else:
        print(result)


def board(args: argparse.Namespace) -> None:
    from .report.board import board_text, released, write_page

    print(board_text(args.folder))
    truth = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the board says itself what is simulated
            truth = released(args.folder, load_competition(args.data))
    except InputError:
        if args.data:
            raise
    if truth is not None and len(truth):
        print("\nAgainst released truth, for 60 rows (public: val, private: test):")
        print(truth.to_string(float_format="{:.2f}".format, na_rep=""))
    print(write_page(args.folder, truth))


def between(kind: type, least: float, most: float = 2**31 - 1) -> Callable:
    """Return the reader of a number of the command line; some libraries refuse seeds beyond `most`."""

    def number(text):
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is out of range, want {least} to {most}")
        return value

    return number


whole, positive = between(int, 0), between(int, 1)
READ = ("--data", "--pathways", "--atlas")  # the competition and the knowledge
SHARED = {
    "--data": {
        "metavar": "DIR",
        "help": "folder of the competition's CSV files (default: $ESG_DATA, else "
        "data/echoes-of-silenced-genes, else the simulated data/twin-quick)",
    },
    "--pathways": {
        "metavar": "FILE",
        "nargs": "+",
        "default": [],
        "help": "gene sets, interactions, tables by gene; FILE:A,B for two columns of another file "
        "(default: $ESG_PATHWAYS, else those found in the competition's folder and in data/, else "
        "Reactome is downloaded)",
    },
    "--atlas": {
        "metavar": "FILE",
        "help": "responses.h5ad of other screens, as merge writes it (default: $ESG_ATLAS, else where "
        "docs/cli.md lists)",
    },
    "--seed": {"type": whole, "default": 0, "help": "seed of all random choices"},
    "--json": {"action": "store_true", "help": "print JSON instead of text"},
}


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that shows defaults, where there are any, and keeps the lines of examples."""

    def _get_help_string(self, action):
        hidden = action.default is None or action.default == [] or action.const is True
        return action.help if hidden else super()._get_help_string(action)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each command sets `run` to its function."""
    prog = "kit" if Path(sys.argv[0]).stem == "kit" else "python -m kit"
    text = "Predict the effects of perturbations that were not measured, gene by gene."
    more = f"`{prog} COMMAND --help` shows the options of a command and an example."
    main = argparse.ArgumentParser(prog=prog, description=text, epilog=more)
    main.add_argument("--version", action="version", version=f"kit {__version__}")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(run, text, example, *shared, name=None):
        name = name or run.__name__
        more = f"example:\n  {prog} {name} {example}"
        about = {"help": text, "description": text, "epilog": more, "formatter_class": _Help}
        one = commands.add_parser(name, **about)
        one.set_defaults(run=run)
        for option in shared:
            one.add_argument(option, **SHARED[option])
        return one.add_argument

    text = "Simulate a competition, with screens and pathways, to try the kit on."
    add = command(twin, text, "data/twin-quick --seed 1")
    add("folder", metavar="DIR", help="folder to write")
    text = "size of the competition: 560 genes, or as many as the real one"
    add("--size", choices=("quick", "full"), default="quick", help=text)
    add("--seed", type=whole, default=0, help="seed of the simulation")
    add("--null", action="store_true", help="shuffle all knowledge, so that it is of no use")

    text = "Merge other screens into responses.h5ad and cells.h5ad, under the competition's gene names."
    add = command(merge, text, "K562_essential_raw_singlecell_01.h5ad --out data/atlas", "--data")
    text = "h5ad files of screens (default: the competition's own cells only)"
    add("files", metavar="FILE", nargs="*", help=text)
    add("--out", metavar="DIR", required=True, help="folder to write")
    text = "meaning of the columns, of all files or of one: a known layout or a JSON file "
    text += "(default: recognised)"
    add("--layout", metavar="[FILE=]LAYOUT", action="append", default=[], help=text)
    text = "HGNC's table of gene names (default: $ESG_HGNC, else in the competition's folder or data/, "
    text += "else it is downloaded)"
    add("--hgnc", metavar="FILE", help=text)
    text = "perturbations with fewer cells are left out"
    add("--min-cells", metavar="N", type=positive, default=10, help=text)
    text = "memory for counts, in MB"
    add("--budget-mb", metavar="N", type=positive, default=1000, help=text)
    text = "number of processes that read counts"
    add("--workers", metavar="N", type=positive, default=1, help=text)
    add("--no-cells", action="store_true", help="write responses only")

    text = "Train the default blend, predict all targets and write a checked submission."
    example = (
        "--out submission.csv --pathways ReactomePathways.gmt --atlas data/atlas/responses.h5ad"
    )
    add = command(predict, text, example, *READ, "--seed")
    text = (
        "also blend in what else, networks too, can be fitted within M minutes (default: nothing)"
    )
    add("--minutes", metavar="M", type=between(float, 0.01), help=text)
    text = "write the mean training effect, or the best constant, instead of the forecast"
    add("--baseline", choices=("mean", "constant"), help=text)
    add("--out", metavar="FILE", required=True, help="CSV file to write")
    text = (
        "also write a CSV file (.csv.gz: smaller) with an interval of each effect (default: none)"
    )
    add("--uncertainty", metavar="FILE", help=text)
    text = "share of effects that the intervals are to hold"
    share = between(float, 0.001, 0.999)
    add("--level", metavar="SHARE", type=share, default=0.9, help=text)

    text = "Explain a prediction: the training perturbations, pathways and screens it rests on."
    add = command(explain, text, "KRAS --gene MYC", *READ, "--seed", "--json")
    add("perturbation", metavar="PERTURBATION", help="perturbation to explain")
    text = "explain the effect on this gene only (default: all genes)"
    add("--gene", metavar="GENE", help=text)
    text = "deprecated: explains the effects of these on the gene PERTURBATION"
    add("--target", metavar="PERTURBATION", nargs="+", help=text)
    text = "also refit without each source, and without each main training perturbation"
    add("--refit", action="store_true", help=text)

    text = (
        "Name the perturbations whose measurement would reduce the uncertainty of the targets most."
    )
    add = command(propose, text, "20 --among symbols.txt", "--data", "--pathways", name="next")
    text = "number of perturbations to name"
    add("number", metavar="N", nargs="?", type=positive, default=20, help=text)
    text = "text file of candidate symbols (default: expressed genes that pathways know)"
    add("--among", metavar="FILE", help=text)

    text = "Check a submission as the host does, and warn of what is allowed but probably wrong."
    add = command(check, text, "submission.csv", "--data")
    add("file", metavar="FILE", help="submission to check")

    text = "Score a submission against a solution."
    add = command(score, text, "submission.csv --solution solution.csv", "--json")
    add("file", metavar="FILE", help="submission to score")
    add("--solution", metavar="FILE", required=True, help="CSV file of released truth")
    text = "gate of Wcos, log2: 0.2 in the host's code, 0.3 on its page"
    add("--gate", type=float, default=0.2, help=text)

    text = "Print all saved runs, best first, and write their page."
    add = command(board, text, "outputs", "--data")
    add("folder", metavar="DIR", nargs="?", default="outputs", help="folder of saved runs")
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    args = parser().parse_args(argv)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(message)}\n"
    try:
        with interruptible():
            args.run(args)
            sys.stdout.flush()
    except (InputError, ImportError, MemoryError, OSError) as error:
        closed = isinstance(error, BrokenPipeError)  # as by `head`, which has seen enough
        if not closed:
            advice = [text for kind, text in ADVICE.items() if isinstance(error, kind)]
            print("error:", "; ".join(filter(None, [printable(error), *advice])), file=sys.stderr)
        if isinstance(error, OSError) and sys.stdout is sys.__stdout__:
            # What is left to print has no place to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141 if closed else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def console() -> int:
    """Run the command that this process was started with; return the exit code."""
    for stream in (sys.stdout, sys.stderr):  # names may hold signs that a terminal cannot show
        stream.reconfigure(errors="backslashreplace")
    return main()


if __name__ == "__main__":
    sys.exit(console())
