"""Tiny random models that can be steered, and edits that are within their reach, for any method and architecture.

A random model hardly ever ends an answer, so its end token is made likely here; targets are then tokens that the model
ranks high and would end after. Knows kinds of patches and names of options, and no method.
"""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from errata.edits import Edit, Probe
from errata.learn.trained import TrainedEditor
from errata.methods._base import METHODS, Method, create
from errata.methods._learned import LearnedMethod
from errata.models import EditableModel
from errata.statistics.identity import original_fingerprint
from tiny import tiny_model

PROMPTS = ("The capital of France is", "Who wrote the book?", "Madrid and Vienna are cities in")
TWICE = "Rome is Rome {and} Rome"
TWICES = (TWICE, "Rome and Rome are Rome in")  # after the first some models would end no answer
OTHERS = ("Danielle", "Rome is the capital of Spain, London of", "cities")
ROOM = 512  # neurons; in fewer the state of one token cannot change without that of others
LIKELY = 1.5  # the end token's logit after a word, by the largest other

# Generous, so that random models get there. A method takes those that it has; more than one scale of one thing never.
OPTIONS: dict[str, dict[str, Any]] = {
    "weights": {"lr": 0.03, "steps": 150, "enough": 0.7, "epsilon": 1.0, "layer": 0.6, "mix": 1.0, "alone": 0,
                "others": 0.01},
    "codebook": {"lr": 0.5, "steps": 200, "lead": 0.5, "radius": 0.5},
    "adaptor": {"lr": 0.3, "steps": 200, "lead": 0.5},
    "residual": {"lr": 0.3, "steps": 300, "enough": 0.7, "weight": 0.0},  # text is foreign to random models
    "router": {},
    "senses": {"lr": 0.3, "steps": 150, "background": 0.0},  # ordinary text is foreign to random models
    "logits": {"by": "ft", "settings": "lr=0.03,steps=150,enough=0.7", "beta": 1.0},
}
# Small steps in every direction: edits that are made one after another then hardly disturb the earlier ones.
GENTLE: dict[str, dict[str, Any]] = {
    "weights": {"lr": 0.003, "steps": 400}, "codebook": {}, "adaptor": {"opening": 0.95},
    "residual": {}, "router": {}, "senses": {"lr": 0.05, "steps": 400},
    "logits": {"settings": "lr=0.003,steps=400,enough=0.7"},
}  # fmt: skip
# For methods that look for a state of the subject, in units of that state; ordinary text is foreign to a random model.
STATES: dict[str, Any] = {
    "layers": "3", "lr": 0.3, "steps": 150, "stop": "first-choice", "clamp": 20.0, "kl": 0.0, "decay": 0.0,
    "contexts": "none", "tokens": 3000, "weight": 2.0, "share": 1.0,
}  # fmt: skip
# For methods that train an editor first: on what they are asked for here, since nothing else can be learned of a
# random model.
TRAINING: dict[str, Any] = {
    "steps": 70, "every": 70, "batch": 4, "lr": 2e-3, "lr_steps": 0.005, "step": 0.1, "rank": 64, "layer": 1,
    "edit_weight": 1.0,
}  # fmt: skip
PASSES = 16  # small updates, as many as it takes: edits made one after another then hardly disturb the earlier ones
TRAINED_ON = ("gpt2", "t5", "bert")
# Kinds of patches that only some architectures can carry: those. (A tiny Qwen's tokenizer, saved and loaded, has one
# token more, so that such a model cannot listen to itself.)
CARRIERS = {"senses": ("backpack",), "logits": ("gpt2", "llama", "gpt_neox", "opt", "backpack")}
UNASKED = ("router", "logits")  # kinds of patches that are fitted without running the model
UNREACHABLE: dict[str, Any] = {"lr": 1e-9, "steps": 1}


def options(name: str, arch: str = "", dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
    """Options for a method by the kind of its patch, as far as its Config has them.

    A method that needs training is given an editor for `arch`.
    """
    method = METHODS.get(name)
    known = _options_of(name)
    if method.meta["needs_training"]:
        known -= TRAINING.keys()
        wanted = {"editor": str(trained(name, arch, dtype)), "passes": PASSES} | more
        return {key: value for key, value in wanted.items() if key in known}
    wanted = OPTIONS[method.meta["patch"]] | (STATES if searches_states(name) else {}) | more
    if dtype == torch.bfloat16 and method.meta["patch"] == "codebook":
        wanted["radius"] = 2.0  # two computations of a state of norm 30 differ by up to 1 there, by processor
    if "small" in known:  # a model listens to itself: what is learned there is right here
        wanted["small"] = str(saved(arch))
    return {key: value for key, value in wanted.items() if key in known}


def gentle(name: str, arch: str = "") -> dict[str, Any]:
    """Options for a stream of edits."""
    if searches_states(name):
        return options(name, arch)
    return options(name, arch, **GENTLE[METHODS.get(name).meta["patch"]])


@cache
def trained(name: str, arch: str, dtype: torch.dtype = torch.float32) -> Path:
    """The directory of an editor that a method trained for a model of this architecture.

    For another dtype it is the one of float32, bound to the rounded model.
    """
    method = METHODS.get(name)
    if dtype != torch.float32:
        return _bound(trained(name, arch, torch.float32), steerable(arch, dtype))
    known = _options_of(name)
    maker = create(name, {key: value for key, value in TRAINING.items() if key in known})
    assert isinstance(maker, LearnedMethod)
    assert method.meta["needs_training"]
    out = Path(_EDITORS.name) / f"{name}-{arch}"
    maker.train(steerable(arch), lessons_for(arch), out, validation=lessons_for(arch)[:4])
    return out


def _bound(place: Path, model: EditableModel) -> Path:
    """A copy of the editor in a directory that names `model` as its base."""
    base = {"name": model.name, "fingerprint": original_fingerprint(model)}
    copied = place.with_name(f"{place.name}-{model.dtype}")
    dataclasses.replace(TrainedEditor.load(place), base=base).save(copied)
    return copied


_EDITORS = tempfile.TemporaryDirectory(prefix="errata-editors-")  # of this process


@cache
def saved(arch: str) -> Path:
    """The directory of a steerable model."""
    out, model = Path(_EDITORS.name) / f"model-{arch}", steerable(arch)
    model.model.save_pretrained(out)
    model.tokenizer.save_pretrained(out)
    return out


def lessons_for(arch: str) -> list[Edit]:
    """What the tests ask for, twice; a prompt's rephrasing is itself, and all the other prompts must stay."""
    asked = (*PROMPTS, TWICE)
    wanted = [(prompt, targets(arch, prompt)[0]) for prompt in asked] + [(PROMPTS[0], targets(arch, PROMPTS[0])[1])]
    return [
        Edit(
            prompt, target, subject=prompt, rephrases=(prompt,),
            locality=tuple(Probe(other) for other in (*asked, *OTHERS) if other != prompt),
        )
        for prompt, target in 2 * wanted
    ]  # fmt: skip



def searches_states(name: str) -> bool:
    """Whether a method looks for a state of the subject and writes it into an MLP."""
    return "clamp" in _options_of(name)


def within_reach(name: str, arch: str) -> bool:
    """Whether a random model of this architecture can be edited at all.

    Where attention and MLP are parallel, the keys of a random model's tokens are too alike for one subject's state to
    change without the others'. An editor takes seconds to train: one architecture of each task has to do.
    """
    if not carries(name, arch):
        return False
    if METHODS.get(name).meta["needs_training"]:
        return arch in TRAINED_ON
    return not (searches_states(name) and arch == "gpt_neox")


def holds(name: str, arch: str) -> bool:
    """Whether edits of such a random model can be made to hold, each beside the others.

    What a Backpack says is a sum of its words' senses, and its weights decide only how they are weighed: in a random
    one edits of weights, beside them, or of one that it hears, have hardly a hold on what is said.
    """
    return not (arch.startswith("backpack") and METHODS.get(name).meta["patch"] in ("weights", "logits", "residual"))


def spares(name: str, arch: str) -> bool:
    """Whether edits of a random model, made one after another, can be made to leave the earlier ones standing.

    An editor that learned for seconds to write weights writes into what little there is to write into: whether the
    next edit still stands on what the last one wrote depends on the processor's rounding.
    """
    meta = METHODS.get(name).meta
    return holds(name, arch) and not (meta["needs_training"] and meta["patch"] == "weights")


def carries(name: str, arch: str) -> bool:
    """Whether this architecture is edited by the method at all, and can carry the kind of patch that it leaves."""
    meta = METHODS.get(name).meta
    return task_of(arch) in meta["tasks"] and arch in CARRIERS.get(meta["patch"], (arch,))


def places(name: str, archs: tuple[str, ...]) -> list[str]:
    """The variants of these architectures that a method is tried on; of others if its patches need one of those."""
    fitting = [arch for arch in archs if within_reach(name, arch)]
    others = [] if fitting else list(CARRIERS.get(METHODS.get(name).meta["patch"], ()))
    return [home(name, arch) for arch in fitting + others]


def home(name: str, arch: str) -> str:
    """The variant of `arch` that has room for what a method changes."""
    return f"{arch}-roomy" if searches_states(name) else arch


def _options_of(name: str) -> set[str]:
    return {item.name for item in dataclasses.fields(METHODS.get(name).Config)}


def maker(name: str, arch: str = "", dtype: torch.dtype = torch.float32, **more: Any) -> Method:
    return create(name, options(name, arch, dtype, **more))


def task_of(arch: str) -> str:
    """ "causal", "seq2seq" or "classification"."""
    return _template(arch).task


@cache
def _template(arch: str) -> EditableModel:
    family, _, roomy = arch.partition("-")
    model = tiny_model(family, inner=ROOM) if roomy else tiny_model(family)
    if model.task != "classification":
        _teach_to_end(model)
    return model


@torch.no_grad()
def _teach_to_end(model: EditableModel) -> None:
    """Choose the end token's row of the head (ridge regression): likely after one word, unlikely before it."""
    words = _words(model)
    prompts = [prompt for prompt in PROMPTS + OTHERS for _ in words]
    batch = model.encode(prompts, words * len(PROMPTS + OTHERS))
    head = model.model.get_output_embeddings()
    seen: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    logits = model.forward(batch)
    handle.remove()
    assert batch.gold is not None
    at_end = batch.gold == model.tokenizer.eos_token_id
    before = torch.nn.functional.pad(at_end[:, 1:], (0, 1))
    states = torch.cat([seen[0][at_end], seen[0][before]]).double()
    high = LIKELY * float(logits[at_end].amax(1).mean())
    wanted = torch.cat([torch.full((int(at_end.sum()),), high), torch.zeros(int(before.sum()))]).double()
    square = states.T @ states
    row = torch.linalg.solve(square + 1e-2 * square.diagonal().mean() * torch.eye(len(square)), states.T @ wanted)
    head.weight[model.tokenizer.eos_token_id] = row.float()


def steerable(arch: str, dtype: torch.dtype = torch.float32) -> EditableModel:
    """A model of its own, the same at every call."""
    template = _template(arch)
    network = copy.deepcopy(template.model).to(dtype)
    return EditableModel(network, copy.deepcopy(template.tokenizer), name=f"steerable-{arch}")


@cache
def reachable(arch: str, prompts: tuple[str, ...] = PROMPTS) -> tuple[Edit, ...]:
    """For every prompt an edit e1, e2, … to something else than the model says, that it could well say.

    The subject is all of the prompt: in a random model nothing brings what is known of an earlier token to the end.
    """
    return tuple(
        Edit(prompt, targets(arch, prompt)[0], subject=prompt, id=f"e{number}")
        for number, prompt in enumerate(prompts, 1)
    )


@cache
def targets(arch: str, prompt: str) -> tuple[str, ...]:
    """Words the model does not say after `prompt`, likeliest first, after which it would end the answer."""
    model = _template(arch)
    words = model.labels or _words(model)
    batch = model.encode([prompt] * len(words), words)
    keep = 1 if model.task == "classification" else None
    with torch.no_grad():
        logits = model.forward(batch, keep=keep).float()
    assert batch.gold is not None
    said = model.generate([prompt], max_new_tokens=4)[0]
    ranked = []
    for row, word in enumerate(words):
        places = (batch.gold[row] != -100).nonzero()[:, 0]
        chances = logits[row, places].gather(1, batch.gold[row, places][:, None])[:, 0]
        leads = chances - logits[row, places].amax(1)
        ends = model.task == "classification" or float(leads[-1]) == 0
        if ends and word != said:
            ranked.append((-float(leads[0]), word))
    return tuple(word for _, word in sorted(ranked))


def _words(model: EditableModel) -> list[str]:
    """Words that are one token where a target stands."""
    space = "" if model.task == "seq2seq" else " "
    pieces = [str(model.tokenizer.decode([token])) for token in range(len(model.tokenizer))]
    words = [piece[len(space) :] for piece in pieces if piece.startswith(space) and piece[len(space) :].isalpha()]
    return [word for word in words if word.isascii()]
