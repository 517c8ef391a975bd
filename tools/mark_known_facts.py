"""Write which cases of CounterFact a model knows: those whose true object it writes after the prompt as it stands.

python tools/mark_known_facts.py smollm2 src/errata/lab/data/known-smollm2.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from errata.datasets import get
from errata.models import EditableModel
from errata.prompts import RawText

LONGEST = 6  # tokens


def main() -> None:
    model, path = EditableModel.load(sys.argv[1]), Path(sys.argv[2])
    rows = get("counterfact").rows()
    told = [row["requested_rewrite"] for row in rows]
    answers = model.generate(
        [RawText(one["prompt"].replace("{}", one["subject"])) for one in told], max_new_tokens=LONGEST
    )
    known = [
        row["case_id"]
        for row, one, said in zip(rows, told, answers, strict=True)
        if said.casefold().startswith(one["target_true"]["str"].casefold())
    ]
    path.write_text(json.dumps(sorted(known)) + "\n")
    print(len(known), "of", len(rows), "known")


if __name__ == "__main__":
    main()
