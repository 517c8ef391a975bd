"""What `benchmarks/peer.py` does itself; EasyEdit is a stand-in, whose own packages must not be run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

import pytest

import tiny
from errata import Edit, Editor
from errata.models.encoding import prompt_ids

FILE = Path(__file__).parent.parent / "benchmarks" / "peer.py"
GRACE = '''
import dataclasses, os
os.environ["CUDA_LAUNCH_BLOCKING"] = "1"

@dataclasses.dataclass
class GraceHyperParams:
    inner_params: list
    device: object = 1

    @classmethod
    def from_hparams(cls, file):
        return cls([open(file).read()])

def apply_grace_to_model(model, tok, requests, hparams):
    return model, lambda: requests.clear()
'''


@pytest.fixture(scope="module")
def peer():
    spec = importlib.util.spec_from_file_location("benchmarks_peer", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks_peer"] = module  # its dataclass looks its annotations up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["benchmarks_peer"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory like a clone of EasyEdit; importing it leaves nothing behind."""
    for name in ("easyeditor", "easyeditor.models", "easyeditor.util", "easyeditor.models.grace"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that what was there, nothing, is put back
        monkeypatch.delitem(sys.modules, name)
    grace = tmp_path / "easyeditor" / "models" / "grace"
    grace.mkdir(parents=True)
    for folder in (grace.parent, grace.parent.parent):
        (folder / "__init__.py").write_text("raise ImportError('a package that needs much was run')")
    (grace / "__init__.py").write_text(GRACE)
    settings = tmp_path / "hparams" / "GRACE"
    settings.mkdir(parents=True)
    (settings / "qwen2.5-7b.yaml").write_text("model.layers[18].mlp.down_proj.weight")
    (settings / "gpt2-xl.yaml").write_text("transformer.h[35].mlp.c_fc.weight")
    return tmp_path


def test_a_layer_keeps_its_relative_depth(peer):
    assert peer.move_layer("model.layers[18].mlp.down_proj.weight", 28, 30) == "model.layers[19].mlp.down_proj.weight"
    assert peer.move_layer("model.layers[0].x", 28, 30) == "model.layers[0].x"
    assert peer.move_layer("transformer.h[47].x", 48, 12) == "transformer.h[11].x"


def test_methods_and_their_options_are_read(peer):
    assert peer.read_methods("grace:layer=26,memit:layers=4,5:steps=3,ft") == [
        "grace:layer=26", "memit:layers=4,5:steps=3", "ft"
    ]  # fmt: skip
    assert peer.read_method("memit:layers=4,5:steps=3") == ("memit", {"layers": "4,5", "steps": "3"})
    with pytest.raises(SystemExit, match="'layer' in 'grace:layer' is not an option"):
        peer.read_method("grace:layer")


@pytest.mark.parametrize(
    ("answer", "says", "stops"),
    [("Rome.", 1, 1), ("Rome, the capital", 1, 0), ("Rome's people", 1, 0), ("Romeo", 0, 0), ("", 0, 0)],
)
def test_an_answer_says_the_target_if_it_begins_with_its_words(peer, answer, says, stops):
    take = peer.Take.of((3.0, 2.0), [answer], [Edit("The capital of Italy?", "Rome")])
    assert (take.says, take.stops) == ([bool(says)], [bool(stops)])


def test_facts_are_one_a_subject_and_the_same_for_a_seed(peer):
    edits = peer.facts(0, "object")
    assert edits == peer.facts(0, "object")
    assert edits != peer.facts(1, "object")
    assert len({edit.subject for edit in edits}) == len(edits) > 500
    assert all(edit.subject in edit.prompt and edit.prompt.endswith("?") for edit in edits)
    statements = peer.facts(0, "sentence")
    assert all(long.target.endswith(f"{short.target}.") for long, short in zip(statements, edits, strict=True))


def test_ratios_are_of_pairs(peer):
    edits = [Edit("The capital of Italy?", "Rome")]
    own = [peer.Take.of((seconds, 1.0), ["Rome"], edits) for seconds in (1.0, 2.0, 4.0)]
    others = [peer.Take.of((seconds, 3.0), ["Rome"], edits) for seconds in (10.0, 10.0, 20.0)]
    found = peer.summary(own, others)
    assert found["edits a second by EasyEdit's"] == {"median": 5.0, "low": 5.0, "high": 7.5, "n": 3}
    assert found["edits a CPU second by EasyEdit's"]["median"] == 3.0
    assert peer.spread([2.0]) == {"median": 2.0, "low": 2.0, "high": 2.0, "n": 1}


def test_a_pad_token_occurs_in_no_prompt(peer):
    tokenizer = tiny.tiny_tokenizer()
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    assert peer.unused_token(tokenizer, [[5, 6]]) == "<pad>"
    assert peer.unused_token(tokenizer, [[5, pad], [end]]) not in ("<pad>", "</s>")
    with pytest.raises(SystemExit, match="every special token"):
        peer.unused_token(tokenizer, [range(len(tokenizer))])


@pytest.mark.parametrize("bos", [False, True])
def test_a_prompt_as_text_has_the_tokens_that_errata_edits(peer, bos):
    model = tiny.tiny_model("llama", bos=bos)
    model.tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
    model = type(model)(model.model, model.tokenizer)
    with Editor(model) as editor:
        prompt = editor.read("Who wrote the book?")
    text = peer.prompt_text(model, prompt)
    assert model.tokenizer(text)["input_ids"] == prompt_ids(model, [prompt])[0]


def test_a_run_from_one_edit_to_the_table(peer, checkout, monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "0")
    package = peer.import_grace(checkout)
    assert peer.os.environ["CUDA_LAUNCH_BLOCKING"] == "0"
    model, other = tiny.tiny_model("llama"), tiny.tiny_model("llama")
    settings = peer.settings_for(other, package, checkout / "hparams" / "GRACE" / "qwen2.5-7b.yaml")
    assert (settings.inner_params, settings.device) == (["model.layers[2].mlp.down_proj.weight"], "cpu")
    edits = [Edit(f"The capital of {name} is", "Rome") for name in ("France", "Germany", "Spain")]
    own = peer.Peer(package, other, settings, [edit.prompt for edit in edits])
    with Editor(model) as editor:
        takes = peer.one_at_a_time(own, editor, ["grace"], edits[:2], 4)
        batched = peer.in_batches(own, editor, ["grace"], [edits], 4)
        assert not editor.state.active()
    given = argparse.Namespace(easyedit=checkout, hparams="qwen2.5-7b", target="object", seed=0, batches=1, batch=3)
    found = json.loads(json.dumps(peer.report(given, model, settings, takes, batched)))
    assert found["one at a time"]["grace"]["edits a second by EasyEdit's"]["n"] == 1  # the first edit warms up
    assert found["in a batch"]["grace"]["edits"] == 3
    assert [line.split(" |")[0] for line in peer.table(found).splitlines()[2:]] == [
        "| EasyEdit GRACE", "| grace", "| grace, 3 in a call"
    ]  # fmt: skip


def test_what_is_missing_is_named(peer, checkout, tmp_path):
    with pytest.raises(SystemExit, match="give a clone of https"):
        peer.import_grace(tmp_path / "nowhere")
    package = peer.import_grace(checkout)
    with pytest.raises(SystemExit, match=r"has no weight transformer\.h\.2\.mlp"):
        peer.settings_for(tiny.tiny_model("llama"), package, checkout / "hparams" / "GRACE" / "gpt2-xl.yaml")
    with pytest.raises(SystemExit, match="name one of qwen"):
        peer.settings_for(tiny.tiny_model("llama"), package, checkout / "hparams" / "GRACE" / "gpt2.yaml")
