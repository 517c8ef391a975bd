"""What scope alone decides of sentences, without a word being generated: wordings found, and what is taken for one.

    python benchmarks/scope_text.py --model smollm2 --half report --keys 195 --encoder words

Keys are prompts of CounterFact. Asked are its paraphrases in wordings that nothing was learned from (their last
sentence, since scope looks at the sentence that is being written), sentences about the same subject that ask for
something else, and neighbours: the same relation of subjects that no key is about. In running text an edit answers only
where the model is about to give its old answer as well; that is not looked at here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from errata.datasets import get
from errata.evaluate.figures import share
from errata.models import EditableModel
from errata.scope import Index
from errata.scope.encoders import SplitEncoder, encoder_for
from errata.scope.vocabulary import Vocabulary
from errata.statistics.scoping import scope_for
from errata.words import current_sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--half", default="report", choices=("tune", "report"))
    parser.add_argument("--keys", type=int, default=195)
    parser.add_argument("--encoder", default="words", help="words, minilm or a directory")
    args = parser.parse_args()
    model = EditableModel.load(args.model)
    found, vocabulary = scope_for(model, args.encoder, "text"), Vocabulary.of(model)
    print(f"learned: {found.found:.1%} of other wordings found; false {dict(found.rates)}; {found.lessons} keys beside")
    edits = get("known-facts" if args.half == "report" else "known-facts-tune").edits()[: args.keys]
    reads = SplitEncoder(encoder_for(args.encoder, model), vocabulary)
    index = Index(found.scorer, reads, vocabulary, [edit.prompt for edit in edits])

    def tell(name: str, hits: Iterable[tuple[int, bool]]) -> None:
        figure = share((place, float(hit)) for place, hit in hits)
        if figure is not None:
            print(f"{name:<34} {figure.value:6.1%} [{figure.low:.1%}, {figure.high:.1%}]  n={figure.n}")

    def own(place: int, text: str) -> bool:
        best = index.search(current_sentence(text))[0]
        return best.inside and best.key == place

    tell("other wordings, own edit", ((n, own(n, one)) for n, edit in enumerate(edits) for one in edit.rephrases))
    for kind in ("same_subject", "neighbour"):
        asked = [(n, probe.prompt) for n, edit in enumerate(edits) for probe in edit.locality if probe.kind == kind]
        tell(f"{kind}, any edit", ((n, index.search(text)[0].inside) for n, text in asked))


if __name__ == "__main__":
    main()
