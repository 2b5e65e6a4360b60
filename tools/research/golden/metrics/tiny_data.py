"""Writes the small data files of the golden metrics: a WordNet of a few synsets and a Punkt model of a few words.

Both are in the formats of the real ones, so that the readers are tested without the data, which is not ours to ship.
"""
from pathlib import Path

# Part of speech, letter in index and data, synsets, irregular forms.
WORDNET = [
    ("noun", "n", [["tumor", "tumour", "neoplasm"], ["mass"], ["mass", "bulk"], ["CT", "computed_tomography"],
                   ["mouse"], ["man", "adult_male"], ["kidney"], ["side", "flank"], ["nodule"]],
     [("mice", "mouse"), ("men", "man")]),
    ("verb", "v", [["see", "find", "discover"], ["grow", "get_big", "increase"], ["show", "demonstrate"],
                   ["remove", "take", "withdraw"], ["be"], ["take_out", "remove"]],
     [("found", "find"), ("seen", "see"), ("was", "be"), ("is", "be")]),
    ("adj", "a", [["large", "big(a)"], ["normal", "unremarkable(p)"], ["fast", "quick", "swift"], ["small", "little"],
                  ["moderate"]],
     [("bigger", "big"), ("worse", "bad")]),
    ("adv", "r", [["rapidly", "quickly", "speedily"]], []),
]
LEXNAMES = [("00", "adj.all", "3"), ("01", "adv.all", "4"), ("02", "noun.Tops", "1"), ("03", "verb.body", "2")]
# nltk finds the version by the words before "Copyright".
HEADER = "  1 Written for the tests of this project in the format of WordNet 3.0 Copyright lies with this project.  \n"

PUNKT = {
    "abbrev_types.txt": ["dr", "approx", "e.g", "i.e", "vs", "fig", "a.m"],
    "collocations.tab": ["t12\t##number##", "##number##\tno"],
    "sent_starters.txt": ["the", "no"],
    "ortho_context.tab": ["the\t122", "stable\t84", "then\t34", "no\t46", "change\t80"],
}


def write_wordnet(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    lexnames = "".join("\t".join(entry) + "\n" for entry in LEXNAMES)
    (folder / "lexnames").write_text(lexnames)
    for name, letter, synsets, irregular in WORDNET:
        data, index = HEADER, {}
        for synset in synsets:
            offset = len(data.encode())
            for word in synset:
                index.setdefault(word.split("(")[0].lower(), []).append(offset)
            words = " ".join(f"{word} 0" for word in synset)
            frames = " 00" if letter == "v" else ""
            data += f"{offset:08} 00 {letter} {len(synset):02x} {words} 000{frames} | made for a test  \n"
        lines = [f"{word} {letter} {len(at)} 0 {len(at)} 0 {' '.join(f'{o:08}' for o in at)}  \n"
                 for word, at in sorted(index.items())]
        (folder / f"data.{name}").write_text(data)
        (folder / f"index.{name}").write_text(HEADER + "".join(lines))
        (folder / f"{name}.exc").write_text("".join(f"{a} {b}\n" for a, b in irregular))


def write_punkt(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in PUNKT.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
