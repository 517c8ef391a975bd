"""EasyEdit's GRACE and methods of Errata on the same model and the same edits, in turns, in one process.

    git clone https://github.com/zjunlp/EasyEdit
    python benchmarks/peer.py --easyedit EasyEdit --model smollm2 --n 8 --methods grace:layer=26 --out peer.json

An edit is a question about a subject of CounterFact with the counterfactual object as its answer. In every round
EasyEdit and each method make the same edit, one after the other (who begins moves on by one a round), each on a model
without any other edit; afterwards it answers freely, and the edit is taken back. Only editing is timed. A ratio is
edits a second divided by EasyEdit's in the same round. In a batch each method makes `--batch` edits in one call;
EasyEdit makes one at a time, so that the batch's time per edit is compared with one of its edits, made just before.

What is timed of EasyEdit is `apply_grace_to_model`: its Editor asks the model before and after every edit as well,
and that is left out. Its settings are those of a file in its hparams/GRACE, with the layer moved to the same relative
depth. Two things are set for it: the device, and a pad token that occurs in no prompt, since it takes pad tokens for
padding wherever they stand, and chat templates write them inside a prompt.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from tqdm import tqdm

from errata import Edit, EditableModel, Editor
from errata.datasets import get
from errata.editor.versions import library_versions
from errata.evaluate.grading import exact, normalised
from errata.lab import questions
from errata.methods._base import create
from errata.models.chat import render
from errata.models.encoding import prompt_ids

# Blocks of the models that EasyEdit's files of settings are for; the files name the layer alone.
DEPTHS = {
    "qwen2.5-7b": 28, "qwen2-7b": 28, "llama3.2-3b": 28, "llama-7b": 32, "gpt-j-6b": 28, "gpt2-xl": 48,
}  # fmt: skip
PEER = "EasyEdit GRACE"


@dataclass(frozen=True)
class Take:
    """One edit or one batch.

    Attributes:
        seconds: per edit, by the clock.
        cpu: CPU seconds per edit, of all threads; on a busy machine they vary less.
        says: of each edit, whether the answer begins with the target.
        stops: of each edit, whether it ends there as well.
        failed: edits that Errata reported as failed.
        answers: of the edits, in their order.
    """

    seconds: float
    cpu: float
    says: list[bool]
    stops: list[bool]
    failed: int
    answers: list[str]

    @classmethod
    def of(cls, spent: tuple[float, float], answers: list[str], edits: Sequence[Edit], failed: int = 0) -> Take:
        """Grade the answers; `spent` are seconds and CPU seconds for all edits."""
        pairs = list(zip(answers, (edit.target for edit in edits), strict=True))
        says, stops = [says_target(*pair) for pair in pairs], [exact(*pair) for pair in pairs]
        return cls(spent[0] / len(edits), spent[1] / len(edits), says, stops, failed, answers)


class Peer:
    """EasyEdit's GRACE on a model of its own.

    Args:
        package: EasyEdit's module easyeditor.models.grace.
        model: the model, which nothing else edits.
        settings: an instance of EasyEdit's GraceHyperParams.
        prompts: all prompts that will be edited; the pad token occurs in none of them.
    """

    def __init__(self, package: ModuleType, model: EditableModel, settings: Any, prompts: Sequence[str]) -> None:
        self.package, self.model, self.settings = package, model, settings
        self.tokenizer = copy.deepcopy(model.tokenizer)
        self.tokenizer.pad_token = unused_token(self.tokenizer, prompt_ids(model, prompts))

    def take(self, edit: Edit, max_new_tokens: int) -> Take:
        """Make one edit, ask for it, and take it back."""
        request = {"prompt": prompt_text(self.model, edit.prompt), "target_new": edit.target}

        def make() -> tuple[Any, Callable[[], None]]:
            return self.package.apply_grace_to_model(self.model.model, self.tokenizer, [request], self.settings)

        spent, (edited, reset) = timed(make, self.model)
        try:
            answer = self._answer(edited, request["prompt"], max_new_tokens)
        finally:
            reset()
        return Take.of(spent, [answer], [edit])

    @torch.no_grad()
    def _answer(self, edited: Any, text: str, max_new_tokens: int) -> str:
        """Answer greedily by EasyEdit's own `generate`, which also sets the position it edits at."""
        inputs = self.tokenizer(text, return_tensors="pt").to(self.model.device)
        end = self.model.chat.end if self.model.chat else None
        ids = edited.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id if end is None else end,
        )  # fmt: skip
        said = ids[0, inputs["input_ids"].shape[1] :]
        return str(self.tokenizer.decode(said, skip_special_tokens=True)).strip()


def take(editor: Editor, edits: list[Edit], spec: str, max_new_tokens: int) -> Take:
    """Make edits in one call by Errata, ask for them, and take them back."""
    name, options = read_method(spec)
    spent, receipt = timed(lambda: editor.edit(edits, name, **options), editor.editable)
    answers = editor.generate([edit.prompt for edit in edits], max_new_tokens=max_new_tokens)
    editor.undo(*receipt.ids)
    return Take.of(spent, answers, edits, len(receipt.failed))


def timed(job: Callable[[], Any], model: EditableModel) -> tuple[tuple[float, float], Any]:
    """Run a job and return its seconds and CPU seconds, and its result; on a GPU all its work is waited for."""
    started, cpu = time.perf_counter(), time.process_time()
    result = job()
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return (time.perf_counter() - started, time.process_time() - cpu), result


def says_target(answer: str, target: str) -> bool:
    """Return whether the answer begins with the words of the target, with or without a possessive 's."""
    said, wanted = (normalised(re.sub(r"['’]s\b", "", text)).split() for text in (answer, target))
    return bool(wanted) and said[: len(wanted)] == wanted


def read_method(spec: str) -> tuple[str, dict[str, Any]]:
    """Read "name:option=value:option=value"."""
    name, *pairs = spec.split(":")
    if odd := [pair for pair in pairs if "=" not in pair]:
        raise SystemExit(f"'{odd[0]}' in '{spec}' is not an option; write METHOD:OPTION=VALUE")
    return name, {option: value for option, _, value in (pair.partition("=") for pair in pairs)}


def read_methods(text: str) -> list[str]:
    """Split at the commas before a method's name: "memit:layers=4,5,grace" names two methods."""
    return re.split(r",(?=[a-z])", text)


def facts(seed: int, target: str) -> list[Edit]:
    """Return a question for every CounterFact subject whose relation has questions, in an order set by the seed.

    Args:
        seed: of the order.
        target: "object" for the counterfactual object alone, "sentence" for CounterFact's own statement with it.
    """
    known = json.loads(questions.FILE.read_text(encoding="utf-8"))["relations"]
    cases = [row["requested_rewrite"] for row in get("counterfact").rows()]
    random.Random(seed).shuffle(cases)
    found: dict[str, Edit] = {}
    for case in cases:
        subject, relation, new = case["subject"], case["relation_id"], case["target_new"]["str"]
        if relation in known and subject not in found:
            question = questions.templates(relation, "held_out")[0].replace("{}", subject)
            statement = f"{case['prompt'].replace('{}', subject)} {new}."
            found[subject] = Edit(question, statement if target == "sentence" else new, subject)
    return list(found.values())


def not_yet_said(editor: Editor, edits: Sequence[Edit], n: int, max_new_tokens: int) -> list[Edit]:
    """Return the first n edits whose target the unedited model does not say."""
    kept: list[Edit] = []
    for start in range(0, len(edits), 64):
        part = edits[start : start + min(64, n - len(kept) + 4)]
        answers = editor.generate([edit.prompt for edit in part], max_new_tokens=max_new_tokens)
        kept += [edit for edit, said in zip(part, answers, strict=True) if not says_target(said, edit.target)]
        if len(kept) >= n:
            return kept[:n]
    raise SystemExit(f"{len(kept)} facts can be edited, and {n} are needed; lower --n, --batch or --batches")


def import_grace(checkout: Path) -> ModuleType:
    """Import easyeditor.models.grace from a checkout.

    The packages above it are stand-ins that only say where their modules lie: EasyEdit's own import every method, and
    with them vision, audio and clients of services.
    """
    package = checkout / "easyeditor"
    if not (package / "models" / "grace" / "__init__.py").is_file():
        raise SystemExit(f"{checkout} has no easyeditor/models/grace; give a clone of https://github.com/zjunlp/EasyEdit")
    for name in ("easyeditor", "easyeditor.models", "easyeditor.util"):
        stand_in = ModuleType(name)
        stand_in.__path__ = [str(package.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = stand_in
    kept = os.environ.get("CUDA_LAUNCH_BLOCKING")
    grace = importlib.import_module("easyeditor.models.grace")
    # Its import makes every CUDA launch of the process wait, Errata's too.
    os.environ.pop("CUDA_LAUNCH_BLOCKING", None)
    if kept is not None:
        os.environ["CUDA_LAUNCH_BLOCKING"] = kept
    return grace


def settings_for(model: EditableModel, package: ModuleType, file: Path) -> Any:
    """Read a file of EasyEdit's settings, with the layer moved to the same relative depth of `model`."""
    if not file.is_file():
        raise SystemExit(f"there is no {file}; name one of {', '.join(DEPTHS)}")
    settings = package.GraceHyperParams.from_hparams(str(file))
    settings.inner_params = [move_layer(settings.inner_params[0], DEPTHS[file.stem], len(model.arch))]
    settings.device = str(model.device)
    module = re.sub(r"\[(\d+)\]", r".\1", settings.inner_params[0])
    if module not in dict(model.model.named_parameters()):
        raise SystemExit(f"{model.name} has no weight {module}; name with --hparams a file for its architecture")
    return settings


def move_layer(weight: str, depth: int, blocks: int) -> str:
    """Move a weight's block from a model of `depth` blocks to one of `blocks`: first to first, last to last."""

    def moved(found: re.Match[str]) -> str:
        return f"[{round(int(found[1]) / (depth - 1) * (blocks - 1))}]"

    return re.sub(r"\[(\d+)\]", moved, weight, count=1)


def prompt_text(model: EditableModel, prompt: str) -> str:
    """Return a prompt as text that EasyEdit's tokenizer call turns into the very ids that Errata edits."""
    text, ids = render(model.chat, prompt)[0], prompt_ids(model, [prompt])[0]
    bos = cast("str | None", model.tokenizer.bos_token)
    for candidate in (text, text.removeprefix(bos) if bos else text):
        if model.tokenizer(candidate)["input_ids"] == ids:
            return candidate
    raise SystemExit(f"as plain text {text!r} has other tokens than Errata reads; the two cannot be compared")


def unused_token(tokenizer: Any, rows: Sequence[Sequence[int]]) -> str:
    """Return a special token that occurs in none of the rows of ids."""
    used = {id for row in rows for id in row}
    known = {tokenizer.pad_token: tokenizer.pad_token_id, **tokenizer.get_added_vocab()}
    free = [token for token, id in known.items() if token is not None and id not in used and id is not None]
    if not free:
        raise SystemExit("every special token of the tokenizer occurs in the prompts; EasyEdit needs one for padding")
    return free[0]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, quartiles and number."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return {"median": median, "low": low, "high": high, "n": len(values)}


def summary(takes: Sequence[Take], peers: Sequence[Take]) -> dict[str, Any]:
    """Return figures of takes, and their edits a second as ratios to those of EasyEdit's takes beside them."""
    says, stops = ([right for one in takes for right in getattr(one, name)] for name in ("says", "stops"))
    return {
        "seconds an edit": spread([one.seconds for one in takes]),
        "edits a second by EasyEdit's": spread([b.seconds / a.seconds for a, b in zip(takes, peers, strict=True)]),
        "CPU seconds an edit": spread([one.cpu for one in takes]),
        "edits a CPU second by EasyEdit's": spread([b.cpu / a.cpu for a, b in zip(takes, peers, strict=True)]),
        "says": sum(says) / len(says), "stops": sum(stops) / len(stops), "edits": len(says),
        "failed": sum(one.failed for one in takes),
    }  # fmt: skip


def one_at_a_time(
    peer: Peer, editor: Editor, methods: Sequence[str], edits: Sequence[Edit], max_new_tokens: int
) -> dict[str, list[Take]]:
    """Make each edit by EasyEdit and by every method; the first edit warms up and counts for none."""
    takes: dict[str, list[Take]] = {PEER: [], **{spec: [] for spec in methods}}
    names = list(takes)
    with tqdm(total=len(edits) * len(names), desc="one at a time", unit="edit") as bar:
        for round_, edit in enumerate(edits):
            first = round_ % len(names)
            for name in names[first:] + names[:first]:
                bar.set_postfix_str(name)
                if name == PEER:
                    takes[name].append(peer.take(edit, max_new_tokens))
                else:
                    takes[name].append(take(editor, [edit], name, max_new_tokens))
                bar.update()
    return takes


def in_batches(
    peer: Peer, editor: Editor, methods: Sequence[str], batches: Sequence[list[Edit]], max_new_tokens: int
) -> dict[str, list[tuple[Take, Take]]]:
    """Make each batch by every method, and before it the batch's first edit by EasyEdit."""
    takes: dict[str, list[tuple[Take, Take]]] = {spec: [] for spec in methods}
    with tqdm(total=len(batches) * len(methods), desc="in batches", unit="batch") as bar:
        for batch in batches:
            for spec in methods:
                bar.set_postfix_str(spec)
                beside = peer.take(batch[0], max_new_tokens)
                takes[spec].append((take(editor, batch, spec, max_new_tokens), beside))
                bar.update()
    return takes


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run everything that the command line asks for."""
    methods = read_methods(given.methods)
    for spec in methods:
        create(*read_method(spec))  # an unknown name or option is refused before the long part
    if given.n < 1 or (given.batches and given.batch < 1):
        raise SystemExit("--n and --batch count edits; give 1 or more")
    package = import_grace(given.easyedit)
    # A model each: what EasyEdit leaves on its own (modules replaced, gradients off) cannot reach Errata's.
    model, other = EditableModel.load(given.model), EditableModel.load(given.model)
    settings = settings_for(other, package, given.easyedit / "hparams" / "GRACE" / f"{given.hparams}.yaml")
    with Editor(model) as editor:
        edits = [editor.read_edit(edit) for edit in facts(given.seed, given.target)]  # in chat: as the user's message
        longest = max(len(row) for row in model.tokenizer([edit.target for edit in edits])["input_ids"])  # type: ignore[arg-type]
        room = longest + 8  # tokens
        edits = not_yet_said(editor, edits, 1 + given.n + given.batches * given.batch, room)
        singles, rest = edits[: 1 + given.n], edits[1 + given.n :]
        batches = [rest[start : start + given.batch] for start in range(0, len(rest), given.batch)]
        peer = Peer(package, other, settings, [edit.prompt for edit in edits])
        takes = one_at_a_time(peer, editor, methods, singles, room)
        batched = in_batches(peer, editor, methods, batches, room)
    return report(given, model, settings, takes, batched) | {
        "facts": [{"prompt": edit.prompt, "target": edit.target} for edit in edits]
    }


def report(
    given: argparse.Namespace,
    model: EditableModel,
    settings: Any,
    takes: Mapping[str, list[Take]],
    batched: Mapping[str, list[tuple[Take, Take]]],
) -> dict[str, Any]:
    """Return what was run and what came out, as JSON values."""
    counted = {name: column[1:] for name, column in takes.items()}
    found: dict[str, Any] = {
        "model": model.name, "blocks": len(model.arch), "dtype": str(model.dtype), "device": model.device.type,
        "threads": torch.get_num_threads(), "target": given.target, "seed": given.seed, "chat": model.chat is not None,
        "versions": {**library_versions(), "EasyEdit": commit(given.easyedit)},
        "EasyEdit's settings": {"file": f"hparams/GRACE/{given.hparams}.yaml", **asdict(settings)},
        "first edit, seconds": {name: column[0].seconds for name, column in takes.items()},
        "one at a time": {name: summary(column, counted[PEER]) for name, column in counted.items()},
    }  # fmt: skip
    if given.batches:
        found["in a batch"] = {
            name: {"size": given.batch, **summary([own for own, _ in column], [peer for _, peer in column])}
            for name, column in batched.items()
        }
    found["takes"] = {name: [asdict(one) for one in column] for name, column in takes.items()}
    found["batches"] = {
        name: [{"own": asdict(own), "EasyEdit": asdict(peer)} for own, peer in column]
        for name, column in batched.items()
    }
    return found


def commit(checkout: Path) -> str:
    """Return the commit of a checkout, or "unknown"."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


def table(found: Mapping[str, Any]) -> str:
    """Return the figures as a table in Markdown."""
    heads = ["", "s an edit", "edits a second, by EasyEdit's", "a CPU second", "says", "stops", "failed", "edits"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    columns = ("seconds an edit", "edits a second by EasyEdit's", "edits a CPU second by EasyEdit's")
    rows = [(name, row) for name, row in found["one at a time"].items()]
    rows += [(f"{name}, {row['size']} in a call", row) for name, row in found.get("in a batch", {}).items()]
    for name, row in rows:
        spreads = [row[key] for key in columns]
        cells = [
            name,
            *(f"{one['median']:.3g} ({one['low']:.3g} to {one['high']:.3g}, n = {one['n']})" for one in spreads),
            f"{row['says']:.2f}", f"{row['stops']:.2f}", str(row["failed"]), str(row["edits"]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--easyedit", type=Path, required=True, help="a clone of github.com/zjunlp/EasyEdit")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--n", type=int, default=8, help="edits made one at a time; one more warms up")
    parser.add_argument("--methods", default="grace", help="NAME[:OPTION=VALUE...], with commas between")
    parser.add_argument("--batch", type=int, default=32, help="edits in a batch")
    parser.add_argument("--batches", type=int, default=2, help="batches by each method; 0 for none")
    parser.add_argument("--target", choices=("object", "sentence"), default="object")
    parser.add_argument("--hparams", choices=DEPTHS, default="qwen2.5-7b", help="whose settings EasyEdit takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the results, JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = measure(given)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
