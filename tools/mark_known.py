"""Write into `lab-facts` which facts a lab model answers rightly, prompt by prompt.

python tools/mark_known.py lab:gpt src/errata/lab/data/lab-facts.jsonl.gz
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from build_lab_facts import write_gzip
from errata.datasets import get
from errata.lab.knowledge import measure
from errata.models import EditableModel


def main() -> None:
    model, path = sys.argv[1], Path(sys.argv[2])
    rows = get("lab-facts").rows()
    found = measure(EditableModel.load(model), rows)
    for row, known in zip(rows, found.known, strict=True):
        row["known"] = known
    write_gzip(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(sum(found.known), "of", len(rows), "known")


if __name__ == "__main__":
    main()
