"""The tiny tokenizers of the golden models, and the prompt of a conversation (template `phi`)."""
import json
import re

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
          "detailed, and polite answers to the user's questions.")
EOS = "<|endoftext|>"
IMAGE_3D = -201  # stands for the image rows in a list of token ids
CORPUS = [SYSTEM] * 4 + [
    " USER: ", " ASSISTANT:", "Describe these findings.", "Is there a pleural effusion in the left lung?",
    "\nWhat is the plane of the CT image? Choices: A. Axial B. Sagittal C. Coronal D. Oblique",
    "Where is the lesion located?", "Which organ is enlarged?", "Yes, there is a small nodule.",
    "No focal mass is seen in the liver, kidney or spleen.",
]
WORDS = ("what where which how is are there the a of in this ct image plane lung liver kidney spleen lesion mass left "
         "right describe these findings effusion nodule many choices axial sagittal coronal oblique").split()


def llm_tokenizer(add_bos):
    """LLaMA-style BPE: byte fallback, a `▁` before the first word of a chunk, `<|endoftext|>` as the last id."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=124, min_frequency=1, show_progress=False))
    learnt = json.loads(trained.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learnt["merges"]]
    pieces = [p for p in sorted(learnt["vocab"], key=learnt["vocab"].get) if p != "\n"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + pieces
    tokenizer = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=merges, unk_token="<unk>",
                                     fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    if add_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(n, normalized=False, special=True) for n in ("<unk>", "<s>", "</s>", EOS)])
    return tokenizer


def tokenizer_config(add_bos, max_length):
    """What `tokenizer_config.json` says beside `tokenizer.json`."""
    return {"add_bos_token": add_bos, "add_eos_token": False, "bos_token": "<s>", "eos_token": EOS, "pad_token": EOS,
            "unk_token": "<unk>", "legacy": False, "model_max_length": max_length, "padding_side": "right",
            "tokenizer_class": "LlamaTokenizer"}


def bert_vocab():
    """The lines of `vocab.txt`: special tokens, printable ASCII with and without `##`, a few words."""
    chars = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    letters = [c for c in chars if c.isalnum()]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + chars + ["##" + c for c in letters] + WORDS
    return list(dict.fromkeys(names))


def prompt_text(messages):
    """The template `phi`: `messages` are strings, human and assistant by turns, the last one human."""
    text = SYSTEM + " "
    for i, message in enumerate(messages):
        text += f"USER: {message.strip()} " if i % 2 == 0 else f"ASSISTANT: {message.strip()}{EOS}"
    return text + "ASSISTANT:"


def with_image(messages):
    """Puts `<image3d>` before the first message unless a message holds it already."""
    if any("<image3d>" in m for m in messages):
        return messages
    return ["<image3d>\n" + messages[0], *messages[1:]]


def prompt_ids(tokenizer, messages, add_bos):
    """Token ids of the prompt: chunks around `<image3d>` apart, BOS once, before the first chunk if that is text."""
    ids = []
    for i, part in enumerate(re.split(r"(<image3d>)", prompt_text(with_image(messages)))):
        if part == "<image3d>":
            ids.append(IMAGE_3D)
        elif part:
            ids += ([1] if add_bos and i == 0 else []) + tokenizer.encode(part, add_special_tokens=False).ids
    return ids
