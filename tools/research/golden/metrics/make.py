"""Scores `pairs.json` with the Python packages of the official scripts and writes `expected.json`. README.md says how.

usage: make.py [--evaluate DIR]     DIR: metrics/bleu of huggingface/evaluate, to compare its BLEU with sacrebleu's
"""
import argparse
import json
import sys
from pathlib import Path

import nltk
import sacrebleu
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.stem.porter import PorterStemmer
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

import tiny_data

HERE = Path(__file__).parent
STEMS = ("abnormalities adjacency aggressively allergies analogously angularity appendiceal atelectases axillary "
         "bilaterally bowed bys calcify cavitating cholecystectomies circumferential conformably consolidations "
         "differently digitizer dilatation enlargements exceedingly fatally fibrillation flies formalize gallbladder "
         "hepatically hesitancy hilarity hydronephrotic hyperplasia irregularities ischemic lobulated logician "
         "lymphadenopathies metastases metastasizing multiplied mydriasis nephrology occluded operators paying "
         "peritoneally plastered pneumonias possibly predominantly probably psychology sensitivity siting sized "
         "sonographically spiculated stenosed stenting stylized subtotally syzygy thickening thrombosed triplicate "
         "troubled typically ulcerations valency vietnamization worrying yearly ying yttrium ys aa").split()


class NoSynsets:
    """Stands for WordNet where the data is not given."""

    def synsets(self, word):
        return []


def tokenizer(parameters=None):
    """`nltk.word_tokenize` with this Punkt model in place of the one that nltk downloads."""
    sentences, words = PunktSentenceTokenizer(parameters), NLTKWordTokenizer()
    return lambda text: [word for sentence in sentences.tokenize(text) for word in words.tokenize(sentence)]


def punkt_parameters(folder):
    lines = lambda name: (folder / name).read_text().splitlines()
    parameters = PunktParameters()
    parameters.abbrev_types = set(lines("abbrev_types.txt"))
    parameters.sent_starters = set(lines("sent_starters.txt"))
    parameters.collocations = {tuple(line.split("\t")) for line in lines("collocations.tab")}
    for line in lines("ortho_context.tab"):
        word, bits = line.split("\t")
        parameters.ortho_context[word] = int(bits)
    return parameters


def evaluate_bleu(folder):
    """BLEU-1 by the script that `evaluate.load("bleu")` fetches."""
    sys.path.insert(0, folder)
    from nmt_bleu import compute_bleu
    from tokenizer_13a import Tokenizer13a
    tokenize = Tokenizer13a()
    return lambda reference, prediction: compute_bleu([[tokenize(reference)]], [tokenize(prediction)], max_order=1)[0]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--evaluate")
    arguments = arguments.parse_args()
    tiny_data.write_wordnet(HERE / "wordnet")
    tiny_data.write_punkt(HERE / "punkt")
    wordnet = WordNetCorpusReader(str(HERE / "wordnet"), omw_reader=None)
    bleu, rouge = BLEU(max_ngram_order=1, smooth_method="none", effective_order=True), RougeScorer(["rouge1"])
    plain, learned = tokenizer(), tokenizer(punkt_parameters(HERE / "punkt"))
    original = evaluate_bleu(arguments.evaluate) if arguments.evaluate else None
    meteor = lambda words, synonyms, *pair: float(single_meteor_score(*map(words, pair), wordnet=synonyms))
    pairs, worst = [], 0.0
    for reference, prediction in json.loads((HERE / "pairs.json").read_text()):
        # The official scripts give an empty prediction 0 without asking the packages.
        scored = {"bleu_1": 0.0, "rouge_1": 0.0, "meteor": 0.0, "meteor_with_data": 0.0}
        if prediction:
            scored = {
                "bleu_1": bleu.sentence_score(prediction, [reference]).score / 100,
                "rouge_1": float(rouge.score(reference, prediction)["rouge1"].fmeasure),
                "meteor": meteor(plain, NoSynsets(), reference, prediction),
                "meteor_with_data": meteor(learned, wordnet, reference, prediction),
            }
            if original:
                worst = max(worst, abs(original(reference, prediction) - scored["bleu_1"]))
        pairs.append({"reference": reference, "prediction": prediction, **scored,
                      "tokens": plain(reference), "tokens_with_data": learned(reference)})
    if original:
        print(f"BLEU-1 of evaluate and of sacrebleu differ by {worst:.1e} at most")
    stemmer = PorterStemmer()
    words = sorted({word.lower() for pair in pairs for word in pair["tokens"]} | set(STEMS))
    expected = {
        "made_with": {"nltk": nltk.__version__, "sacrebleu": sacrebleu.__version__, "rouge_score": "0.1.2"},
        "stems": {word: stemmer.stem(word) for word in words},
        "pairs": pairs,
    }
    lines = json.dumps(expected, ensure_ascii=False, indent=1)
    (HERE / "expected.json").write_text(lines + "\n")
    print(f"{len(pairs)} pairs, {len(words)} stems")


if __name__ == "__main__":
    main()
