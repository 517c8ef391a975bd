"""The published layouts of editing benchmarks, each turned into the JSON form of an edit.

Knows what each benchmark calls its fields, and the blemishes of the published files.
"""

from __future__ import annotations

from errata import fields
from errata.errors import BadEdit
from errata.fields import Fields


def read_counterfact(record: Fields) -> Fields | None:
    """Read ROME's schema (Meng et al., 2022) and EasyEdit's additions.

    Neighbourhood prompts share the true object. Distracting prompts put the edited fact before a neighbour
    (Hoelscher-Obermaier et al., 2023).
    """
    rewrite = fields.mapping(record, "requested_rewrite")
    template, subject = fields.text(rewrite, "prompt"), fields.text(rewrite, "subject")
    if "{}" not in template:
        raise BadEdit("'requested_rewrite.prompt' has no {}; write {} where the subject belongs")
    true = fields.text(fields.mapping(rewrite, "target_true"), "str").strip()
    target = fields.text(fields.mapping(rewrite, "target_new"), "str")
    locality = [_probe(prompt, true, "neighbour") for prompt in fields.texts(record, "neighborhood_prompts")]
    distracting = fields.texts(record, "distracting_neighborhood_prompts")
    locality += [_probe(prompt, true, "distractor") for prompt in distracting]
    if "unrelated_relation" in record:
        other = fields.mapping(record, "unrelated_relation")
        locality.append(_probe(fields.text(other, "question"), fields.text(other, "object"), "same_subject"))
    portability = _one_hop(record)
    if "alternative_subject" in record:
        alias = template.replace("{}", fields.text(record, "alternative_subject"), 1)
        portability.append(_probe(alias, target, "alias"))
    return _clean(
        {
            "prompt": template.replace("{}", subject, 1),
            "target": target,
            "subject": subject,
            "ground_truth": true,
            "rephrases": fields.texts(record, "paraphrase_prompts"),
            "locality": locality,
            "portability": portability,
            "id": fields.identifier(record, "case_id"),
        }
    )


def read_easyedit(record: Fields) -> Fields | None:
    """Read EasyEdit's flat CounterFact and KnowEdit's zsRE, wiki_recent and wiki_counterfact."""
    true = fields.first_answer(record.get("ground_truth"))
    locality = _groups(record, "locality")
    if "locality_prompt" in record:
        answer = fields.first_answer(record.get("locality_ground_truth"))
        locality.append(_lone_probe(fields.text(record, "locality_prompt"), answer, true))
    return _clean(
        {
            "prompt": fields.text(record, "prompt"),
            "target": fields.text(record, "target_new"),
            "subject": fields.text(record, "subject", ""),
            "ground_truth": true,
            "rephrases": [*fields.texts(record, "rephrase_prompt"), *fields.texts(record, "rephrase")],
            "locality": locality,
            "portability": _groups(record, "portability"),
            "id": fields.identifier(record, "case_id"),
        }
    )


def read_zsre(record: Fields) -> Fields | None:
    """Read MEND's zsRE (Mitchell et al., 2022): `alt` is to be learnt, `answers` are true, `pred` is a model's."""
    true, target = fields.first_answer(record.get("answers")), fields.text(record, "alt")
    answer = fields.first_answer(record.get("loc_ans"))
    portability = _one_hop(record)
    if "alter_subject_question" in record:
        portability.append(_probe(fields.text(record, "alter_subject_question"), target, "alias"))
    return _clean(
        {
            "prompt": fields.text(record, "src"),
            "target": target,
            "subject": fields.text(record, "subject", ""),
            "ground_truth": true,
            "rephrases": fields.texts(record, "rephrase"),
            "locality": [_lone_probe(fields.text(record, "loc", ""), answer, true)],
            "portability": portability,
            "id": fields.identifier(record, "case_id"),
        }
    )


def read_wikibio(record: Fields) -> Fields | None:
    """Read KnowEdit's WikiBio: the sentence to write after a passage that starts a biography."""
    return read_easyedit(
        {
            "prompt": fields.text(record, "text"),
            "target_new": fields.text(record, "labels"),
            "subject": fields.text(record, "concept"),
            "locality": fields.mapping(record, "locality", {}),
        }
    )


def read_canonical(record: Fields) -> Fields | None:
    """Read canonical examples (Hewitt et al., 2024): one way to go on, or two, the first to be the likelier.

    The published files do not say what is wanted; where it is something else, the caller knows.
    """
    paired = "suffix" not in record
    return _clean({
        "prompt": fields.text(record, "prefix"),
        "target": fields.text(record, "suffix1" if paired else "suffix"),
        "goal": "contrast" if paired else "raise",
        "rival": fields.text(record, "suffix2") if paired else None,
        "subject": "", "ground_truth": None, "rephrases": [], "locality": [], "portability": [], "id": None,
    })  # fmt: skip


# Probes

# KnowEdit's groups in the words of `errata.edits.Probe.kind`; a group with another name keeps it.
KINDS = {
    "Relation_Specificity": "same_subject",
    "Forgetfulness": "forgetfulness",
    "Reasoning": "one_hop",
    "Subject_Aliasing": "alias",
    "Logical_Generalization": "logical",
}


def _probe(prompt: str, answer: str | None, kind: str | None) -> Fields:
    return {"prompt": prompt, "answer": answer, "kind": kind}


def _groups(record: Fields, key: str) -> list[Fields]:
    """The probes of KnowEdit's blocks: groups by name, each a list of prompts with their answers."""
    groups = fields.mapping(record, key, {})
    return [
        _probe(
            fields.text(probe, "prompt"),
            fields.first_answer(probe.get("ground_truth")),
            KINDS.get(name, name.strip().lower()),
        )
        for name in groups
        for probe in fields.mappings(groups, name)
    ]


def _lone_probe(prompt: str, answer: str | None, true: str | None) -> Fields:
    """A locality probe without a name: CounterFact's share the true object, MEND's come from Natural Questions."""
    if prompt.startswith("nq question"):
        return _probe(prompt, answer, "unrelated")
    return _probe(prompt, answer, "neighbour" if answer is not None and answer == true else None)


def _one_hop(record: Fields) -> list[Fields]:
    """The question that EasyEdit's one-hop files add to a case (Yao et al., 2023)."""
    block = fields.mapping(record, "portability", {})
    if "New Question" not in block:
        return []
    return [_probe(fields.text(block, "New Question"), fields.text(block, "New Answer"), "one_hop")]


def _clean(edit: Fields) -> Fields | None:
    """The same edit without the blemishes of published files: outer spaces, empty texts, other spellings."""
    prompt, target = edit["prompt"].strip(), edit["target"].strip()
    if not prompt or not target:
        return None
    return {
        "prompt": prompt,
        "target": target,
        "subject": _spelt_as_in(prompt, edit["subject"].strip()),
        "ground_truth": (edit["ground_truth"] or "").strip() or None,
        "rephrases": [text.strip() for text in edit["rephrases"] if text.strip()],
        "locality": _clean_probes(edit["locality"]),
        # a consequence without an answer says nothing about the edit
        "portability": [probe for probe in _clean_probes(edit["portability"]) if probe["answer"]],
        "id": edit["id"],
        "goal": edit.get("goal"),
        "rival": (edit.get("rival") or "").strip() or None,
    }


def _clean_probes(probes: list[Fields]) -> list[Fields]:
    return [
        _probe(probe["prompt"].strip(), (probe["answer"] or "").strip() or None, probe["kind"] or None)
        for probe in probes
        if probe["prompt"].strip()
    ]


def _spelt_as_in(prompt: str, subject: str) -> str | None:
    if subject in prompt:
        return subject or None
    start = prompt.lower().find(subject.lower())
    spelt = prompt[start : start + len(subject)]
    return spelt if start >= 0 and spelt.lower() == subject.lower() else None
