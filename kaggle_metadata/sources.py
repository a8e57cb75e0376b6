"""Whether the inputs that kernels attach exist on Kaggle, asked before anything is sent.

Kaggle takes a kernel whose inputs do not exist, and runs it without them.
"""

from pathlib import Path

from kit.io.files import InputError, quote_some

from .client import DONE, Client
from .metadata import DATASET, Kernel

UNKNOWN, GOOD = "UNKNOWN", {*DONE, "READY"}


def source_faults(
    kernels: list[Kernel], known: list[Kernel], outputs: Path, *, guess: bool = False
) -> tuple[list[str], list[str]]:
    """Return faults and warnings about what `kernels` attach and pushing them does not make.

    One line for each input. Faults: own kernels that do not exist. known: all kernels here. Where Kaggle
    cannot be asked, raises InputError; with `guess` warns, unless an own kernel's log is in `outputs`.
    """
    attached = _attached(kernels)
    own = {kernel.id: kernel for kernel in known}
    faults, warnings, reason = [], [], ""
    try:
        states = _states(attached)
    except InputError as error:
        if not guess:
            raise
        reason = f" (Kaggle was not asked: {error})"
        states = {
            name: "COMPLETE" if _ran(own.get(name), outputs) else UNKNOWN for name in attached
        }
    for name, (_, by) in attached.items():
        what = f"the output of {own[name].folder.name}" if name in own else name
        use = f"{quote_some(by, 9)} {'attaches' if len(by) == 1 else 'attach'} {what}, which"
        first = f"; run first: make push NOTEBOOK={own[name].folder.name}" if name in own else ""
        if states[name] is None:
            fault = "does not exist yet" if name in own else "does not exist or is not open to you"
            (faults if name in own else warnings).append(f"{use} {fault}{first}")
        elif states[name] == UNKNOWN:
            warnings.append(f"{use} may not exist yet{first}{reason}")
        elif states[name] not in GOOD:
            warnings.append(f"{use} is in state {states[name]}, not complete")
    return faults, warnings


def _attached(kernels):
    """What kernels attach beside the kit and one another's outputs: {name: (key, folders of kernels)}."""
    made = {kernel.id for kernel in kernels} | {f"{kernel.owner}/{DATASET}" for kernel in kernels}
    attached = {}
    for kernel in kernels:
        for key in ("kernel_sources", "dataset_sources"):
            for source in kernel.data[key]:
                name = "/".join(source.split("/")[:2])  # without its version
                if name not in made:
                    attached.setdefault(name, (key, []))[1].append(kernel.folder.name)
    return attached


def _states(attached):
    """The state at Kaggle by name, None where there is no such kernel or dataset."""
    if not attached:
        return {}
    client = Client()
    ask = {"kernel_sources": client.last_state, "dataset_sources": client.dataset_status}
    states = {name: ask[key](name) for name, (key, _) in attached.items()}
    return {name: state and state.upper() for name, state in states.items()}


def _ran(kernel, outputs):
    """Whether a kernel ran on Kaggle: its log was fetched."""
    if kernel is None:
        return False
    return (outputs / kernel.notebook.stem / f"{kernel.slug}.log").is_file()
