"""What target states cost: together, one by one, and one by one on the whole model; and a MEMIT batch by stages.

    python benchmarks/states.py --n 100

The three searches have the same objective, contexts and stop, and run in one process; a ratio is what counts. "whole"
is how the papers' code does it: every step runs all blocks on all tokens of one edit's texts.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from errata import Edit, Editor
from errata.datasets import get
from errata.methods._base import create
from errata.methods.memit import Memit
from errata.models import EditableModel
from errata.models.hooks import replace_output
from errata.models.losses import margin, target_loss
from errata.solve.keys import Facts
from errata.solve.targets import Search, _prompts, _subjects, find_targets
from errata.solve.templates import contexts
from errata.solve.values import typical


def whole(model: EditableModel, fact: Facts, layer: int, search: Search) -> torch.Tensor:
    """(d,): one edit's shift, found with forwards and backwards of the whole model."""
    (batch, columns), (about, ends) = _prompts(model, fact), _subjects(model, fact)
    assert batch.gold is not None
    block = model.block(layer)
    shift = torch.zeros(model.width, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=search.lr)
    states: list[torch.Tensor] = []

    def shifted(columns: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        def add(hidden: torch.Tensor) -> torch.Tensor:
            rows = torch.arange(len(hidden))
            if not states:
                states.append(hidden[0, columns[0]].detach())
            return hidden.index_put((rows, columns), typical(states[0]) * shift, accumulate=True)

        return add

    before = None
    for step in range(search.steps + 1):
        handle = replace_output(block, shifted(columns))
        logits = model.forward(batch)
        handle.remove()
        handle = replace_output(block, shifted(ends))
        now = functional.log_softmax(model.forward(about)[0, int(ends[0])].float(), -1)
        handle.remove()
        before = now.detach() if before is None else before
        size = states[0].norm() / typical(states[0])
        nll = target_loss(logits, batch.gold).mean()
        loss = nll + search.kl * (now.exp() * (now - before)).sum()
        loss = loss + search.decay * (shift.square().sum() + 1e-24).sqrt() / size**2
        if float(nll.detach()) < search.enough or step == search.steps:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            most = search.clamp * size
            if shift.norm() > most:
                shift.mul_(most / shift.norm())
    assert margin(logits.detach(), batch.gold).isfinite().all()
    return (typical(states[0]) * shift).detach()


def searches(n: int) -> dict[str, Any]:
    model, edits = EditableModel.load("lab:gpt"), cases(n)
    method = create("memit")
    config = method.settled(model)
    search = Search(
        config.lr, config.steps, config.enough, config.clamp, config.kl, config.decay, config.stop, relative=True
    )
    layer = method.needs(model).layers[-1]  # type: ignore[union-attr]
    facts = Facts(edits, contexts(model, config.contexts, config.seed), config.rows)
    row: dict[str, Any] = {"edits": n, "contexts": len(facts.contexts), "threads": torch.get_num_threads()}
    with model.preserved():
        find_targets(model, facts.only([0]), layer, "block", search)  # warm
        with clocked(row, "together"):
            together = find_targets(model, facts, layer, "block", search)
        with clocked(row, "one by one"):
            alone = [find_targets(model, facts.only([place]), layer, "block", search).deltas for place in range(n)]
        with clocked(row, "whole"):
            papers = [whole(model, facts.only([place]), layer, search) for place in range(n)]
    found = {"one by one": torch.cat(alone, 1), "whole": torch.stack(papers, 1).double()}
    row["steps"] = sum(together.steps) / n
    for name, deltas in found.items():
        row[f"least cosine with {name}"] = float(functional.cosine_similarity(together.deltas, deltas, dim=0).min())
        row[f"{name} / together"] = row[name] / row["together"]
    return row


def stages(n: int) -> dict[str, Any]:
    row: dict[str, Any] = {"edits": n}

    class Timed(Memit):
        def _moments(self, *given: Any) -> Any:
            with clocked(row, "statistics (cached)"):
                return super()._moments(*given)

        def _goals(self, *given: Any) -> Any:
            with clocked(row, "target states"):
                return super()._goals(*given)

        def _write(self, *given: Any) -> Any:
            with clocked(row, "keys, residuals, solves"):
                return super()._write(*given)

    with Editor("lab:gpt") as editor:
        editor.edit(cases(n + 1)[-1], "memit")  # statistics, contexts and layers are there from now on
        plain = Memit.fit
        Memit.fit = lambda self, *given: plain(Timed(self.config), *given)  # type: ignore[method-assign]
        with clocked(row, "all"):
            receipt = editor.edit(cases(n), "memit")
        Memit.fit = plain
    row["failed"] = len(receipt.failed)
    row["check, record, attach"] = 2 * row["all"] - sum(value for value in row.values() if isinstance(value, float))
    return row


@contextmanager
def clocked(row: dict[str, Any], name: str) -> Iterator[None]:
    """Adds seconds of this process's processors: other work on the machine counts for nothing."""
    started = time.process_time()
    yield
    row[name] = row.get(name, 0.0) + time.process_time() - started


def cases(n: int) -> list[Edit]:
    edits = get("counterfact-lab").edits()
    random.Random(0).shuffle(edits)
    return edits[:n]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100)
    given = parser.parse_args()
    print(json.dumps({"searches": searches(given.n), "memit": stages(given.n)}, indent=2))


if __name__ == "__main__":
    main()
