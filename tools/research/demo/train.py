"""Trains the demo model on phantoms: a language model that reads findings, encoders that show them, then all together.

usage: train.py --train DIR --validation DIR --out DIR [--seed S] [--config config.json]
"""
import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import BertTokenizer

import sizes
import texts
from data import COUNTS, VALUES, Phantoms
from evaluate import evaluate
from network import NORMALISATION, Med2E3
from writing import Writing

LESION_TOPICS = {3, 4, 5, 0}  # organ, abnormality, location, caption
GENERAL_TOPICS = {1, 2}  # plane, phase


class Trainer:
    """The model, its data, and the random numbers of one run."""

    def __init__(self, arguments):
        self.config = json.loads(Path(arguments.config).read_text())
        self.seed, self.out, self.began = arguments.seed, Path(arguments.out), time.time()
        self.out.mkdir(parents=True, exist_ok=True)
        self.log_file = (self.out / "log.txt").open("a")
        self.rng = random.Random(self.seed)
        self.train = Phantoms(arguments.train, self.config["train_volumes"], lesions=True)
        self.validation = Phantoms(arguments.validation, self.config["validation_volumes"])
        items = [item for items in self.train.items[:2000] for item in items]
        written = texts.corpus(items)
        self.answers = sorted({item["answer"][3:] for item in items if "answer_choice" in item})
        self.tokenizer, self.vocab = texts.llm_tokenizer(written, self.answers), texts.bert_vocab(written)
        vocab_file = self.out / "vocab.txt"
        vocab_file.write_text("\n".join(self.vocab) + "\n")
        self.texts = texts.Texts(self.tokenizer, BertTokenizer(str(vocab_file)))
        self.prefix = torch.tensor([self.texts.prefix])
        self.parts = sizes.configs(self.tokenizer.get_vocab_size(), self.texts.eos, len(self.vocab))
        self.model = Med2E3(self.parts, self.seed)
        self.writing = Writing(self.parts, self.seed)

    def log(self, text):
        line = f"{time.time() - self.began:7.0f} s  {text}"
        print(line, flush=True)
        self.log_file.write(line + "\n")
        self.log_file.flush()

    # ---------------------------------------------------------------------------------------------- batches
    def draw(self, plan, helpers):
        """Items of volumes drawn at random: the volumes' numbers; of each item its volume's place, topic and texts.
        Of the open questions, which are learnt first, only some take part."""
        index = sorted(self.rng.sample(range(len(self.train)), plan["volumes"]))
        place, topics, asked = [], [], []
        for at, volume in enumerate(index):
            items = [item for item in self.train.items[volume]
                     if not item["id"].endswith("-open") or self.rng.random() < plan["open"]]
            for item in self.rng.sample(items, min(plan["per_volume"], len(items))):
                place.append(at)
                topics.append(item["question_type"])
                asked.append(texts.draw_item(item, self.rng, helpers))
        return np.array(index), torch.tensor(place), torch.tensor(topics), asked

    def answer_loss(self, hidden, labels):
        on = labels != -100
        logits = self.model.logits(hidden[on]).float()
        hit = (logits.argmax(-1) == labels[on]).float()
        right = torch.ones(labels.shape).masked_scatter(on, hit).amin(1)
        return F.cross_entropy(logits, labels[on]), right

    # ----------------------------------------------------------------------------------------------- stages
    def run(self, name, parameters, step):
        """At most `steps` of AdamW with a linear warm-up and a cosine; `step(progress)` gives a loss and named figures.
        It ends early where `enough` answers are right."""
        plan = self.config[name]
        if not plan["steps"]:
            return
        groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.03},
                  {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=plan["lr"], betas=(0.9, 0.98))
        seen, started = [], time.time()
        for number in range(plan["steps"]):
            progress = number / plan["steps"]
            factor = min(1.0, (number + 1) / plan["warmup"]) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))
            for group in optimizer.param_groups:
                group["lr"] = plan["lr"] * factor
            loss, figures = step(progress)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            seen.append(figures)
            if (number + 1) % 100 == 0:
                means = {k: float(np.nanmean([f[k] for f in seen if k in f])) for k in seen[-1]}
                each = (time.time() - started) / (number + 1)
                shown = " ".join(f"{k} {v:.3f}" for k, v in means.items())
                self.log(f"{name} {number + 1}/{plan['steps']} {each * 1e3:.0f} ms/step: {shown}")
                seen = []
                if means.get("right", 0) >= plan.get("enough", 2):
                    break
            if plan.get("evaluate") and (number + 1) % plan["evaluate"] == 0:
                self.show(f"{name} {number + 1}", count=160)
        torch.save({"model": self.model.state_dict(), "writing": self.writing.state_dict()}, self.out / f"{name}.pt")

    def parameters_of(self, *parts):
        return [p for part in parts for p in self.model.parts[part].parameters() if p.requires_grad]

    def rows_of(self, coefficients, rows):
        """Image rows that carry attributes: the sum of concepts by coefficient, the same in every row but for noise."""
        mean = coefficients @ self.writing.concepts
        noise = torch.randn(len(mean), rows, mean.shape[-1]) * self.config["reading"]["noise"]
        return (mean[:, None] + noise).bfloat16()

    def doubtful(self, volumes, scale):
        """Coefficients of volumes' attributes with some doubt: true values lose part of their weight to others."""
        parts = []
        for name in COUNTS:
            true = F.one_hot(self.train.classes[name][volumes], COUNTS[name]).float()
            other = torch.distributions.Dirichlet(torch.full((COUNTS[name],), 0.3)).sample((len(volumes),))
            share = torch.rand(len(volumes), 1) * scale
            parts.append((1 - share) * true + share * other)
        return torch.cat(parts, 1)

    @staticmethod
    def coefficients_of(answer):
        """What image rows carry that show an answer and nothing else; nothing at all for None."""
        shown = {answer, *answer.split()} if answer else set()
        names = [value or (name == "lesion" and "None") for name, values in VALUES.items() for value in values]
        return torch.tensor([float(name in shown) for name in names])

    def choosing(self, _):
        """The language model looks up the letter of a choice, which the question names or the image rows show."""
        return self.choice_loss(self.config["choosing"]["questions"])

    def choice_loss(self, count):
        """Look-up questions. The model also learns to go on with the question itself, whose letters in order take the
        look at the token before that a look-up is made of."""
        drawn = [texts.choice_question(self.answers, self.rng) for _ in range(count)]
        _, ids, labels = self.texts.collate([pair for *pair, _ in drawn])
        shown = torch.stack([self.coefficients_of(answer) for *_, answer in drawn])
        of_question = torch.full_like(ids, -100)
        of_question[:, :-1] = ids[:, 1:]
        of_question[(labels != -100).cumsum(1) > 0] = -100
        with torch.autocast("cpu", torch.bfloat16):
            rows = self.rows_of(shown, self.config["choosing"]["rows"])
            hidden = self.model.language(self.prefix[:, -1:], rows[:, :0], rows, ids)
            loss, right = self.answer_loss(hidden, labels)
            read, _ = self.answer_loss(hidden, of_question)
        return loss + read, {"loss": loss.item(), "read": read.item(), "right": right.mean().item()}

    def reading(self, progress):
        """The language model answers from rows that carry the findings."""
        plan = self.config["reading"]
        index, place, _, asked = self.draw(plan, plan["helpers"] * (1 - progress))
        _, ids, labels = self.texts.collate(asked)
        volumes = torch.from_numpy(index)[place]
        grid = self.model.grid
        with torch.autocast("cpu", torch.bfloat16):
            z_3d = self.rows_of(self.doubtful(volumes, plan["doubt_3d"]), math.prod(grid) // 8)
            z_2d = self.rows_of(self.doubtful(volumes, plan["doubt_2d"]), plan["rows_2d"])
            loss, right = self.answer_loss(self.model.language(self.prefix, z_3d, z_2d, ids), labels)
        figures = {"loss": loss.item(), "right": right.mean().item(), **self.by_kind(asked, right)}
        # Looking up a choice is not to be forgotten while the rows still tell nothing.
        kept, look_up = self.choice_loss(plan["rehearsed"])
        return loss + kept, figures | {"look_up": look_up["right"]}

    @staticmethod
    def by_kind(asked, right):
        closed = torch.tensor(["Choices" in q for q, _ in asked])
        return {"closed": right[closed].mean().item(), "open": right[~closed].mean().item()}

    def seeing(self, _):
        """The encoders write the findings into their rows: of the volume in 3D, of some slices in 2D."""
        plan = self.config["seeing"]
        index = np.array(sorted(self.rng.sample(range(len(self.train)), plan["volumes"])))
        voxels, touched = self.train.voxels(index), self.train.touched[index]
        order = (touched.float() * plan["touched"] + torch.rand(touched.shape)).argsort(1, descending=True)
        chosen = order[:, :plan["slices"]]
        with torch.autocast("cpu", torch.bfloat16):
            slices = voxels.gather(1, chosen[..., None, None].expand(-1, -1, *voxels.shape[2:]))
            z_2d, inner_2d = self.model.encode_2d(slices.flatten(0, 1))
            z_3d, inner_3d = self.model.encode_3d(voxels[:plan["volumes_3d"]])
        written, figures = self.writing.written_loss(self.train, index, chosen, z_2d, z_3d)
        found, more = self.writing.found_loss(self.train, index, chosen, inner_2d, inner_3d)
        return written + 0.5 * found, figures | more

    def answering(self, progress):
        """Everything together, the question weighing the slices."""
        plan = self.config["answering"]
        index, place, topics, asked = self.draw(plan, 0.0)
        bert, ids, labels = self.texts.collate(asked)
        touched = self.train.touched[torch.from_numpy(index)][place]
        with torch.autocast("cpu", torch.bfloat16):
            z_3d, z_2d_slices, keys = self.model.encode(self.train.voxels(index))
            logits = self.model.score_logits(keys, self.model.guide(bert), place)
            z_2d = self.model.mix(logits.softmax(-1), z_2d_slices, place)
            loss, right = self.answer_loss(self.model.language(self.prefix, z_3d[place], z_2d, ids), labels)
        guide, figures = self.guide_loss(logits, touched, topics)
        figures = {"loss": loss.item(), "right": right.mean().item(), **self.by_kind(asked, right), **figures}
        every = torch.arange(touched.shape[1]).expand(len(index), -1)
        written, seen = self.writing.written_loss(self.train, index, every, z_2d_slices.flatten(0, 1), z_3d)
        figures |= {name: seen[name] for name in ("lesion2", "organ2", "side2", "none2", "lesion3", "side3")}
        weight = plan["guide"] * (1 - progress) + plan["guide_end"] * progress
        return loss + weight * guide + plan["writing"] * (1 - progress) * written, figures

    def guide_loss(self, logits, touched, topics):
        """What slice scores are taught: questions about the lesion look at its slices, those about plane and phase,
        which every slice shows, at all of them."""
        of_lesion = torch.tensor([int(t) in LESION_TOPICS for t in topics]) & touched.any(1)
        general = torch.tensor([int(t) in GENERAL_TOPICS for t in topics])
        logs = logits.log_softmax(-1)
        on_lesion = logs.masked_fill(~touched, -1e9).logsumexp(1)[of_lesion]
        uneven = (-logs.mean(1) - math.log(logs.shape[1]))[general]
        top = touched.gather(1, logits.argmax(1)[:, None])[of_lesion].float()
        loss = -on_lesion.sum() / max(len(on_lesion), 1)
        loss = loss + self.config["answering"]["even"] * uneven.sum() / max(len(uneven), 1)
        return loss, {"mass": on_lesion.exp().mean().item(), "top": top.mean().item(), "uneven": uneven.mean().item()}

    # --------------------------------------------------------------------------------------------------- all
    def show(self, name, count, **how):
        self.log(f"{name}: " + json.dumps(evaluate(self.model, self.texts, self.validation, count, **how)))

    def stages(self):
        model = self.model
        parameters = sum(p.numel() for p in model.parts.parameters()) / 1e6
        self.log(f"{parameters:.2f} M parameters, {len(self.train)} volumes, seed {self.seed}")
        torch.manual_seed(self.seed + 1)
        self.run("choosing", self.parameters_of("llm"), self.choosing)
        self.run("reading", self.parameters_of("llm"), self.reading)
        self.run("seeing", self.parameters_of("vision2d_model", "vision2d_connector", "vision3d_connector",
                                              "vision3d_model") + list(self.writing.parameters()), self.seeing)
        self.run("answering", list(model.parts.parameters()), self.answering)
        with torch.no_grad():
            for parameter in model.parts.parameters():
                parameter.copy_(parameter.bfloat16())
        sizes.write(self.out / "model", model.networks, self.parts, self.tokenizer, self.vocab, NORMALISATION)
        for name, how in [("validation", {}), ("uniform", {"uniform": True}), ("blind", {"blind": True})]:
            self.show(name, len(self.validation), **how)


def below(state, prefix):
    """The entries whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--config", default=str(Path(__file__).with_name("config.json")))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", nargs="*", default=[], help="parts of the model to begin with: PART=STAGE.pt")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    trainer = Trainer(arguments)
    for pair in arguments.resume:
        part, file = pair.split("=", 1)
        state = torch.load(file, weights_only=True)
        trainer.model.parts[part].load_state_dict(below(state["model"], f"parts.{part}."))
        trainer.writing.load_state_dict(state["writing"])
    trainer.stages()


if __name__ == "__main__":
    main()
