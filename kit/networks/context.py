"""What is known of knockdowns from outside the screen in which they are asked for.

A network that learns on a screen must not be told what that screen measured: its `View` rests on pathways
and on the other screens. That of the competition rests on pathways and all screens. A knockdown without
a response elsewhere is *hidden*: likeness and response are those of its pathway neighbours.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..competition import CONTROL

OWN = (
    "response_cosine",
    "response_components",
    "smoothed_response",
    "smoothed_response and all_sets",
    "response_components and all_sets",
)  # of hidden ones unknown
ALONE = ("neighbour_response", "neighbour_to_response", "neighbour_response and all_sets")
HELD = 3000  # knockdowns of a screen up to which kernels between all are kept: 36 MB a kernel
LARGEST = 5.0  # response in standard deviations; a few are far larger


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of knockdowns that are asked for and of those that are looked at, float32.

    hidden: (asked,); kernels: (asked, looked, kernels); among: (looked, looked, kernels); other: (asked,
    looked), whether the two are different genes; response: (asked, genes), from elsewhere in standard
    deviations of the gene, 0 where unknown; near: the same of pathway neighbours alone; responses:
    (looked, genes); knocked_down: (asked, genes), whether it is the gene; related: (asked, genes), the
    pathway kernel between the two.
    """

    hidden: torch.Tensor
    kernels: torch.Tensor
    among: torch.Tensor
    other: torch.Tensor
    response: torch.Tensor
    near: torch.Tensor
    responses: torch.Tensor
    knocked_down: torch.Tensor
    related: torch.Tensor


class Views:
    """Views by screen, made when first asked for and kept.

    likeness: Likeness of all that is known; genes: of the rows, in their order. `kernels` are the names
    of likeness, the same in all views: one that a view lacks is 0 there.
    """

    def __init__(self, knowledge, genes):
        self.knowledge, self.genes = knowledge, genes
        self._expected, self._sources, self._kept = [], {}, {}
        probe = list(genes[:1])
        found = knowledge.kernels(probe) | knowledge.kernels(probe, exclude_own_response=True)
        self.kernels = [name for name in found if name not in OWN + ALONE]
        self.kernels += [name for name in OWN + ALONE if name in found]
        self.kernels = self.kernels or ["all_sets"]  # nothing is known: all zero
        self.symbols = np.array(knowledge.symbols(list(genes)), dtype=object)

    def __deepcopy__(self, memo):
        return self

    def expect(self, names):
        """Say which knockdowns of the competition will be asked for again and again."""
        if new := set(names) - set(self._expected):
            self._expected += sorted(new)
            self._sources.pop("competition", None)
            self._kept.pop("competition", None)

    def view(self, screen, names):
        """A View of a screen that holds at least these knockdowns."""
        if screen not in self._sources:
            self._sources[screen] = self._without(screen), self._universe(screen)
        knowledge, universe = self._sources[screen]
        if screen not in self._kept and len(universe) <= HELD:
            self._kept[screen] = View(self, knowledge, universe)
        held = self._kept.get(screen)
        if held is not None and all(name in held.places for name in names):
            return held
        return View(self, knowledge, list(dict.fromkeys(names)))

    def _universe(self, screen):
        if screen == "competition":
            return self._expected
        obs = self.knowledge.atlas.obs
        symbols = obs["sgrna_symbol"][(obs["dataset"] == screen).to_numpy()].astype(str)
        names = self.knowledge.symbols([name for name in symbols if name != CONTROL])
        return list(dict.fromkeys(names))

    def _without(self, screen):
        """Likeness by all but one screen."""
        if screen == "competition":
            return self.knowledge
        return self.knowledge.without_screen(screen)


def views_of(model, genes):
    """Views of all that a `Trained` in its fit knows, made once, that expect its rows and targets."""
    knowledge, train = model.knowledge, model.train_
    key = ("views", knowledge.fingerprint, tuple(genes))
    views = model.once.get(key, lambda: Views(knowledge, genes))
    views.expect([*train.effects.index, *train.targets["perturbation"]])
    return views


class View:
    """What is known of `names` by one Likeness, as tensors on the CPU. `known` takes parts of it."""

    def __init__(self, views, knowledge, names):
        self.knowledge, self.genes = knowledge, views.genes
        self.places = {name: place for place, name in enumerate(names)}
        count, symbols = len(names), np.array(knowledge.symbols(names), dtype=object)
        self.kernels = torch.zeros(count, count, len(views.kernels))
        found = knowledge.kernels(names, exclude_own_response=True) | knowledge.kernels(names)
        for place, name in enumerate(views.kernels):
            if name in found:
                self.kernels[:, :, place] = _tensor(found[name])
        self.covered = torch.tensor(knowledge.has_response(names).to_numpy(dtype=bool))
        self.other = torch.from_numpy(np.not_equal.outer(symbols, symbols).astype(bool))
        self.knocked_down = np.equal.outer(symbols, views.symbols).astype(bool)
        self.knocked_down = torch.from_numpy(self.knocked_down)
        self.related = torch.zeros(count, len(views.genes))
        if knowledge.pathways is not None:
            self.related = _tensor(knowledge.pathway_kernel(names, list(views.genes)))
        self.response, self.near = (self._response(names, hidden) for hidden in (False, True))

    def _response(self, names, exclude_own_response):
        """Response expected from elsewhere, standard deviations: (names, genes)."""
        if self.knowledge.responses_ is None:
            return torch.zeros(len(names), len(self.genes))
        spread = np.sqrt((self.knowledge.responses_**2).mean()) + 1e-9
        found = self.knowledge.response(names, exclude_own_response=exclude_own_response) / spread
        found = found.reindex(columns=self.genes).fillna(0.0)
        return _tensor(found.clip(-LARGEST, LARGEST))

    def known(self, asked, looked, genes, *, hide=None, device="cpu"):
        """The Known of names asked for and looked at, at places of genes; hide: (asked,) bool."""
        q, s = (torch.tensor([self.places[name] for name in names]) for names in (asked, looked))
        q, s, genes = q.long(), s.long(), torch.as_tensor(genes).cpu()
        hidden = ~self.covered[q] if hide is None else ~self.covered[q] | hide
        own, near = self.response[q][:, genes], self.near[q][:, genes]
        found = {
            "hidden": hidden,
            "kernels": self.kernels[q][:, s],
            "among": self.kernels[s][:, s],
            "other": self.other[q][:, s],
            "response": torch.where(hidden[:, None], near, own),
            "near": near,
            "responses": self.response[s][:, genes],
            "knocked_down": self.knocked_down[q][:, genes],
            "related": self.related[q][:, genes],
        }
        return Known(**{name: part.to(device, torch.float32) for name, part in found.items()})


def _tensor(frame):
    return torch.as_tensor(frame.to_numpy(), dtype=torch.float32)
