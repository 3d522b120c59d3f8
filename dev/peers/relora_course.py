"""The course of a ReLoRA run of GPT-2 in PyTorch, for dev/gpu_parity.py to compare a run of train_relora with.

This implements dev/FORMATS.md and shares nothing with the program: the network is transformers' GPT2LMHeadModel, called
with the weights W + s*B*A; AdamW, clipping, rates, adapters, merges and resets are written out below. fp32 has no TF32. In
bf16, forward and backward see weights rounded from fp32 masters, all else is fp32. Needs torch, transformers and safetensors.
"""
import array
import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

LINEARS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Which W the sum W + s*B*A is formed from: in bf16 a GPU holds only the rounded one.
COURSES = {"fp32": (torch.float32, torch.float32), "bf16 cuda": (torch.bfloat16, torch.bfloat16),
           "bf16 cpu": (torch.bfloat16, torch.float32)}
BETA1, BETA2, EPSILON = 0.9, 0.95, 1e-8  # the program's defaults
SEQUENCES_AT_ONCE = 4  # of 1024 tokens: their logits over GPT-2's vocabulary take 0.8 GB in fp32

logging.disable_progress_bar()


def progress(text):
    print(text, file=sys.stderr, flush=True)


# ---- model and data ------------------------------------------------------------------------------------------------


def write_model(folder, shape, stored_type, seed, device):
    """A random GPT-2 with every bias and LayerNorm in use; returns it as it is stored."""
    config = GPT2Config(vocab_size=shape["vocab-size"], n_positions=shape["positions"], n_layer=shape["layers"],
                        n_head=shape["heads"], n_embd=shape["channels"], resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
                        bos_token_id=shape["vocab-size"] - 1, eos_token_id=shape["vocab-size"] - 1,
                        # Queries and keys have unit variance then, and attention is far from uniform.
                        initializer_range=shape["channels"]**-0.5)
    torch.manual_seed(seed)
    with torch.device(device):
        model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        model.transformer.ln_f.weight.mul_(0.25)  # small logits: their rounding in bf16 is most of a loss's noise
    model.to(TYPES[stored_type]).save_pretrained(folder)
    return model


def write_shard(path, count, vocab_size, seed):
    """Random tokens in llm.c's format, frequent and rare ones as in a text; returns them."""
    generator = torch.Generator().manual_seed(seed)
    tokens = (vocab_size * torch.rand(count, generator=generator, dtype=torch.float64)**3).long()
    header = array.array("i", [20240520, 1, count] + [0] * 253)
    path.write_bytes(header.tobytes() + array.array("H", tokens.tolist()).tobytes())
    return tokens


def read_shard(path):
    return torch.tensor(array.array("H", path.read_bytes()[1024:]), dtype=torch.long)


# ---- random numbers and schedule -----------------------------------------------------------------------------------


def uniforms(count, seed, purpose, number, epoch, device):
    """The first numbers in [0, 1) of a sequence: Philox4x32-10."""
    low = 0xFFFFFFFF
    block = torch.arange((count + 3) // 4, device=device)
    c = [block & low, block >> 32, torch.full_like(block, number), torch.full_like(block, epoch % 2**24 + (purpose << 24))]
    k = [seed & low, seed >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]  # int64 wraps, the bits are those of the unsigned product
        c = [q >> 32 & low ^ c[1] ^ k[0], q & low, p >> 32 & low ^ c[3] ^ k[1], p & low]
        k = [k[0] + 0x9E3779B9 & low, k[1] + 0xBB67AE85 & low]
    return (torch.stack(c, dim=1).flatten()[:count] >> 8).float() / 2**24


def group_of(name):
    """What shares a rate with a tensor that trains."""
    return {"lora_A": "A", "lora_B": "B"}.get(name.split(".")[-1], "others")


def multiplier(s, updates, warmup, drops, restart_warmup, floor):
    """The rate of update s of a phase over its peak: a cosine that starts again at 0 at the updates `drops`."""
    def base(s):
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (s - warmup) / max(1, updates - warmup)))

    if s < warmup:
        return s / warmup
    q = s - max((drop for drop in drops if drop <= s), default=-restart_warmup)
    if q < restart_warmup:
        return q / restart_warmup * base(s - q + restart_warmup)
    return base(s)


# ---- the course ----------------------------------------------------------------------------------------------------


class Course:
    """Weights, adapters and moments of a run in one compute type, and what its updates do to them."""

    def __init__(self, model, tokens, options, compute_type, base_type):
        self.model, self.options, self.compute_type, self.base_type = model, options, compute_type, base_type
        self.weights = {name: p.detach().float().clone() for name, p in model.named_parameters()}
        self.device = next(model.parameters()).device
        self.inputs, self.targets = (t.view(-1, options["seq-len"]).to(self.device) for t in (tokens[:-1], tokens[1:]))
        self.adapters = {}  # linear: its A and B
        self.steps, self.moments = {}, {}  # of AdamW, by name: t, and m and v
        self.start_moments()

    def sections(self, linear):
        return 3 if linear.endswith("c_attn") else 1

    def trained(self):
        """Everything that trains: name -> fp32 tensor."""
        frozen = {linear + ".weight" for linear in self.adapters}
        tensors = {name: w for name, w in self.weights.items() if name not in frozen}
        for linear, (a, b) in self.adapters.items():
            tensors[linear + ".lora_A"], tensors[linear + ".lora_B"] = a, b
        return tensors

    def start_moments(self):
        """Gives what trains and has no moments yet zeros, and drops those of what trains no more."""
        tensors = self.trained()
        self.steps = {name: self.steps.get(name, 0) for name in tensors}
        self.moments = {name: self.moments.get(name) or (torch.zeros_like(p), torch.zeros_like(p))
                        for name, p in tensors.items()}

    def scale(self, linear):
        o = self.options
        n_in = self.weights[linear + ".weight"].shape[0]
        return o["alpha"] / o["rank"] if o["alpha"] else math.sqrt(3 * n_in / o["rank"])

    # -- forward and backward

    def low_rank_update(self, linear):
        """s*B*A as transformers' Conv1D has it, [in, out]."""
        a, b = self.adapters[linear]
        sections, rank = self.sections(linear), self.options["rank"]
        product = b.view(sections, -1, rank) @ a.view(sections, rank, -1)
        return self.scale(linear) * product.flatten(0, 1).T

    def effective_weights(self):
        """name -> W + s*B*A in fp32."""
        return {linear + ".weight": self.weights[linear + ".weight"].to(self.base_type).float() + self.low_rank_update(linear)
                for linear in self.adapters}

    def loss_sum(self, weights, rows):
        """Cross-entropy of some of the sequences, summed over their tokens."""
        rounded = {name: w.to(self.compute_type) for name, w in weights.items()}
        backends = [SDPBackend.MATH] if self.compute_type == torch.float32 else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        with sdpa_kernel(backends):
            output = torch.func.functional_call(self.model, rounded, (self.inputs[rows],), {"use_cache": False})
        losses = F.cross_entropy(output.logits.float().flatten(0, 1), self.targets[rows].flatten(), reduction="none")
        return losses.double().sum()

    def parts(self, sequences):
        """Slices of the first sequences."""
        return [slice(first, min(first + SEQUENCES_AT_ONCE, sequences)) for first in range(0, sequences, SEQUENCES_AT_ONCE)]

    @torch.no_grad()
    def loss(self, sequences):
        weights = {**self.weights, **self.effective_weights()}
        total = sum(self.loss_sum(weights, rows).item() for rows in self.parts(sequences))
        return total / (sequences * self.options["seq-len"])

    def gradients(self):
        """Loss of all sequences, and the gradient of everything that trains."""
        factors = [p.requires_grad_() for pair in self.adapters.values() for p in pair]
        effective = self.effective_weights()
        weights = {name: w.detach().requires_grad_() for name, w in {**self.weights, **effective}.items()}
        total = 0
        for rows in self.parts(len(self.inputs)):
            loss = self.loss_sum(weights, rows)
            (loss / self.inputs.numel()).backward()
            total += loss.item()
        if effective:
            torch.autograd.backward(list(effective.values()), [weights[name].grad for name in effective])
        gradients = {name: weights[name].grad if name in weights else p.grad for name, p in self.trained().items()}
        for p in factors:
            p.requires_grad_(False).grad = None
        return total / self.inputs.numel(), gradients

    # -- an update

    def update(self, rates):
        """Clips, steps with AdamW; returns the loss before and the norm of the gradient."""
        loss, gradients = self.gradients()
        norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients.values()))
        clip = self.options["grad-clip"]
        for name, p in self.trained().items():
            self.steps[name] += 1
            self.adamw(name, p, gradients[name] * (clip / norm if norm > clip else 1), rates[group_of(name)])
        return loss, norm

    def adamw(self, name, p, g, rate):
        (m, v), t = self.moments[name], self.steps[name]
        decay = self.options["weight-decay"] if p.dim() == 2 and group_of(name) == "others" else 0
        v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
        root = v.sqrt()
        bound = 1.001 * (1 - BETA1) / math.sqrt((1 - BETA2) * (1 - BETA1**2 / BETA2)) * root
        m.mul_(BETA1).add_(g, alpha=1 - BETA1).clamp_(-bound, bound)
        denominator = root / math.sqrt(1 - BETA2**t) + EPSILON
        p.sub_(rate * (m / (1 - BETA1**t) / denominator + decay * p))

    # -- switch, merge, reset

    def draw(self, restart):
        """Draws A by the numbers of a restart."""
        for number, (linear, (a, _)) in enumerate(self.adapters.items()):  # in the order of blocks, then of LINEARS
            for section, values in enumerate(a.view(self.sections(linear), self.options["rank"], -1)):
                u = uniforms(values.numel(), self.options["seed"], 2, 4 * number + section, restart, self.device)
                values.copy_((2 * u - 1).view_as(values) * a.shape[1]**-0.5)

    def switch(self):
        rank = self.options["rank"]
        for layer in range(self.model.config.n_layer):
            for name in LINEARS:
                linear = f"transformer.h.{layer}.{name}"
                n_in, n_out = self.weights[linear + ".weight"].shape
                self.adapters[linear] = (torch.zeros(self.sections(linear) * rank, n_in, device=self.device),
                                         torch.zeros(n_out, rank, device=self.device))
        self.draw(0)
        if self.options["others"] == "restart":
            self.steps, self.moments = {}, {}
        self.start_moments()

    def merge(self, restart):
        """W + s*B*A becomes W, B zero, and A fresh if restarts redraw it; returns the norm of all that was added."""
        squares = 0
        for linear, (_, b) in self.adapters.items():
            delta = self.low_rank_update(linear)
            self.weights[linear + ".weight"] += delta
            squares += delta.double().square().sum().item()
            b.zero_()
        if self.options["restart-A"] == "redraw":
            self.draw(restart)
        return math.sqrt(squares)

    def reset(self):
        """Zeroes the smallest of each section of the adapters' moments; returns the share of all that is zero."""
        zero = total = 0
        for linear in self.adapters:
            for factor in "AB":
                for moment in self.moments[f"{linear}.lora_{factor}"]:
                    self.prune(moment.view(self.sections(linear), -1))
                    zero += (moment == 0).sum().item()
                    total += moment.numel()
        return zero / total

    def prune(self, sections):
        fraction = float(self.options["reset"].removeprefix("magnitude:"))
        for section in sections:
            order = section.abs().sort(stable=True).indices
            section[order[:math.ceil(fraction * len(order))]] = 0

    # -- the run

    def ends(self, period):
        """The updates of the low-rank phase, counted from 1, after which a period ends."""
        updates = self.options["max-steps"] - self.options["warm-start-steps"]
        early = math.floor(self.options["restart-until"] * updates)
        return {*range(period, early + 1, period), updates}

    def rates(self, step):
        """The learning rate of each group."""
        o = self.options
        switch, floor = o["warm-start-steps"], o["min-lr-ratio"]
        full = multiplier(step, o["max-steps"], o["warmup-steps"], (), 0, floor)
        if step < switch:
            return {"others": full * o["lr"]}
        low = multiplier(step - switch, o["max-steps"] - switch, o["warmup-steps"], self.ends(o["reset-every"]),
                         o["restart-warmup-steps"], floor)
        others = low * o["lora-lr"] if o["others"] == "restart" else full * o["lr"]
        return {"A": low * o["lora-lr"] / o["lora-plus-ratio"], "B": low * o["lora-lr"], "others": others}

    def run(self, label):
        """The numbers that the program writes into metrics.jsonl: key -> values in their order."""
        o = self.options
        numbers = {key: [] for key in ("loss", "grad_norm", "loss_before", "loss_after", "delta_norm", "zeroed_fraction")}

        def note(**values):
            for key, value in values.items():
                numbers[key].append(value)

        restarts = 0
        for step in range(o["max-steps"]):
            if step == o["warm-start-steps"]:
                self.switch()
            start = time.monotonic()
            loss, norm = self.update(self.rates(step))
            note(loss=loss, grad_norm=norm)
            progress(f"{label}: update {step + 1} of {o['max-steps']}, loss {loss:.6f}, norm {norm:.4f}, "
                     f"{time.monotonic() - start:.1f} s")
            done = step + 1 - o["warm-start-steps"]
            if done in self.ends(o["merge-every"]):
                restarts += 1
                note(loss_before=self.loss(o["batch-size"]))
                note(delta_norm=self.merge(restarts), loss_after=self.loss(o["batch-size"]))
            if done in self.ends(o["reset-every"]) and o["reset"] != "none":
                note(zeroed_fraction=self.reset())
        return {**numbers, "val_loss": [self.loss(len(self.inputs))]}


def loss_of(folder, shard, options, compute_type, device):
    """The loss of a Hugging Face folder on all tokens of a shard."""
    model = GPT2LMHeadModel.from_pretrained(folder).to(device)
    course = Course(model, read_shard(shard), options, TYPES[compute_type], torch.float32)
    return course.loss(len(course.inputs))


def record(folder, shape, courses, stored_type, device, types=tuple(COURSES)):
    """Writes a model, a shard of one update's tokens and reference.json: the numbers of the courses, name -> options, in
    these types."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"making a model of {shape['layers']} layers, {shape['channels']} channels")
    options = next(iter(courses.values()))  # seed and tokens are the same in all
    model = write_model(folder, shape, stored_type, options["seed"], device)
    tokens = write_shard(folder / "tokens.bin", options["total-batch-tokens"] + 1, shape["vocab-size"], options["seed"])
    recorded = {}
    for name, options in courses.items():
        expected = {t: Course(model, tokens, options, *COURSES[t]).run(f"PyTorch {name} {t}") for t in types}
        recorded[name] = {"options": options, "expected": expected}
    torch.cuda.empty_cache()  # the trainer needs the memory
    (folder / "reference.json").write_text(json.dumps(recorded, indent=1) + "\n")
