"""The demo's tokenizers, trained on the phantoms' own texts, and questions and answers as token ids."""
import json
import random
import sys
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))
import tokens
from network import PAD

EOS, PIECES = tokens.EOS, 480
SPECIAL = ["<unk>", "<s>", "</s>"]
LETTERS = "ABCD"
PROMPT_END = " ASSISTANT:"


def corpus(items):
    """Every text once: questions, answers, and the template around them."""
    texts = {t for item in items for t in (item["question"] + PROMPT_END, " " + item["answer"], lookup(item, 0)[0])}
    return sorted(texts) + [" " + tokens.SYSTEM + " USER: "] * 50


def llm_tokenizer(texts, answers):
    """LLaMA-style BPE with byte fallback; every word of the texts is one token; `<|endoftext|>` comes last.

    A question follows a line break, so its first word is learnt without the `▁` of a word after a space. Answers of
    two words become one token, so that a choice's letter stands right before what tells it from the other choices.
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=PIECES, min_frequency=1, show_progress=False))
    learnt = json.loads(trained.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learnt["merges"]]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].get)
    for first, second in (f" {answer}".replace(" ", "▁").rsplit("▁", 1) for answer in answers if " " in answer):
        merges.append((first, f"▁{second}"))
        pieces.append(f"{first}▁{second}")
    names = SPECIAL + [f"<0x{b:02X}>" for b in range(256)] + pieces
    tokenizer = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=merges, unk_token="<unk>",
                                     fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(n, normalized=False, special=True) for n in [*SPECIAL, EOS]])
    return tokenizer


def bert_vocab(texts):
    """The lines of `vocab.txt`: special tokens, printable ASCII with and without `##`, every word of the texts."""
    split = pre_tokenizers.BertPreTokenizer()
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text.lower())})
    chars = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + chars + ["##" + c for c in chars if c.isalnum()] + words
    return list(dict.fromkeys(names))


def lookup(item, draw):
    """A question that only asks for a choice's letter, or for letter and text the other way round: it teaches the
    language model to read choices."""
    if "answer_choice" not in item:
        return item["question"], item["answer"]
    stem, choices = item["question"].split(" Choices: ")
    text = item["answer"][3:]
    if draw == 0:
        return f"Which choice is {text}? Choices: {choices}", item["answer"]
    return f"{stem} Text first. Choices: {choices}", f"{text} {item['answer_choice']}"


def choice_question(answers, rng: random.Random):
    """Four answers as choices, one of them to be found, and which answer that is if the image rows tell it, or None if
    the question does."""
    listed = rng.sample(answers, len(LETTERS))
    at = rng.randrange(len(LETTERS))
    answer, letter, in_image = listed[at], LETTERS[at], rng.random() < 0.5
    choices = " ".join(f"{letter}. {text}" for letter, text in zip(LETTERS, listed))
    asked = f"Which choice is {'shown' if in_image else answer}?"
    if rng.random() < 0.5:
        asked, answer = f"{asked} Choices: {choices}", f"{letter}. {answer}"
    else:
        asked, answer = f"{asked} Text first. Choices: {choices}", f"{answer} {letter}."
    return asked, answer, listed[at] if in_image else None


class Texts:
    """Turns questions and answers into ids, each text once."""

    def __init__(self, tokenizer, bert_tokenizer):
        self.tokenizer, self.bert_tokenizer = tokenizer, bert_tokenizer
        text = tokens.SYSTEM + " USER: "
        self.prefix = tokenizer.encode(text, add_special_tokens=False).ids
        self.eos = tokenizer.token_to_id(EOS)
        self.memo = {}

    def ask(self, question, answer):
        """BERT's ids of the question, the ids after the image rows, and the answer's ids with the eos."""
        key = (question, answer)
        if key not in self.memo:
            if len(self.memo) > 400_000:
                self.memo.clear()
            encode = lambda text: self.tokenizer.encode(text, add_special_tokens=False).ids
            self.memo[key] = (self.bert_tokenizer(question)["input_ids"], encode("\n" + question + PROMPT_END),
                              [*encode(answer), self.eos])
        return self.memo[key]


    def collate(self, asked):
        """Pairs of question and answer as padded ids: BERT's, the LLM's after the image, and what each row predicts,
        -100 where nothing."""
        rows = [self.ask(question, answer) for question, answer in asked]
        bert = torch.full((len(rows), max(len(b) for b, _, _ in rows)), PAD)
        ids = torch.zeros(len(rows), max(len(q) + len(a) - 1 for _, q, a in rows), dtype=torch.long)
        labels = torch.full_like(ids, -100)
        for i, (b, q, a) in enumerate(rows):
            bert[i, :len(b)] = torch.tensor(b)
            ids[i, :len(q) + len(a) - 1] = torch.tensor(q + a[:-1])
            labels[i, len(q) - 1:len(q) + len(a) - 1] = torch.tensor(a)
        return bert, ids, labels


def draw_item(item, rng: random.Random, helpers):
    """The item's question and answer, or with probability `helpers` one of the look-up forms."""
    if "answer_choice" in item and rng.random() < helpers:
        return lookup(item, rng.randrange(2))
    return item["question"], item["answer"]
