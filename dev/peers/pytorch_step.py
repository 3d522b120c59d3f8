"""PyTorch's training step of the same GPT-2, as a worker for dev/bench/compare.py. Needs torch.

It is written as a PyTorch user would write it to be fast: nn.Linear, scaled_dot_product_attention, fused AdamW, autocast for
bf16 with fp32 weights, a vocabulary padded to a multiple of 128, optionally torch.compile. `--mode lora` or `relora`
has frozen linears plus LoRA factors; embeddings, LayerNorms and biases train, as in train_relora. On a GPU
scaled_dot_product_attention is flash attention in bf16 (memory-efficient attention in fp32), tokens are drawn there,
and products of fp32 are in TF32 unless --tf32 off.

Protocol: after set-up and warm-up it prints "ready {json}"; each line "step" on stdin runs --steps-per-turn training steps
on random tokens (forward and backward of --grad-accum micro-batches, clipping, AdamW) and prints {"seconds": s, "loss":
x}, seconds of one step; "quit" (or the end of stdin) prints {"peak_bytes": n} and ends. The peak is that of steady-state
steps: what set-up and compilation took before does not count. "ready" has the bytes of weights, adapters, gradients and
moments, as kept from step to step.
"""
import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

MODELS = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024), "gpt2-large": (36, 20, 1280), "gpt2-xl": (48, 25, 1600),
          "gpt2-small": (8, 8, 512), "gpt2-mini": (6, 6, 384), "gpt2-tiny": (4, 4, 256)}
VOCAB, PADDED_VOCAB, POSITIONS = 50257, 50304, 1024
WARM_UP_STEPS = 2


def avoid_broken_amx():
    """Go without AMX where oneDNN's use of it dies; tried in a child.

    Some virtual machines report AMX but hide the CPUID leaf (1Dh) with its tile sizes: oneDNN then configures no tiles and its
    first tile instruction is illegal.
    """
    trial = [sys.executable, "-c", "import torch; a = torch.ones(512, 512).bfloat16(); a @ a"]
    if subprocess.run(trial, stderr=subprocess.DEVNULL, check=False).returncode == -signal.SIGILL:
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"
    return os.environ.get("ONEDNN_MAX_CPU_ISA", "all")


def emit(prefix="", **fields):
    print(prefix + json.dumps(fields), flush=True)


class LoraLinear(nn.Module):
    """A frozen linear (its bias trains) plus s * B(A(x)); with `parts` > 1, that many adapters side by side."""

    def __init__(self, fan_in, fan_out, rank, alpha, parts):
        super().__init__()
        self.base = nn.Linear(fan_in, fan_out)
        self.base.weight.requires_grad_(False)
        self.lora_a = nn.Linear(fan_in, parts * rank, bias=False)
        self.lora_b = nn.ModuleList(nn.Linear(rank, fan_out // parts, bias=False) for _ in range(parts))
        self.scale = alpha / rank
        self.rank = rank
        nn.init.kaiming_uniform_(self.lora_a.weight, a=math.sqrt(5))

    def forward(self, x):
        inner = self.lora_a(x).split(self.rank, dim=-1)
        outer = [b(part) for b, part in zip(self.lora_b, inner)]
        return self.base(x) + self.scale * (torch.cat(outer, dim=-1) if len(outer) > 1 else outer[0])


def make_linear(args, fan_in, fan_out, parts=1):
    if args.mode == "full":
        return nn.Linear(fan_in, fan_out)
    return LoraLinear(fan_in, fan_out, args.rank, args.alpha, parts if args.qkv_adapters == "separate" else 1)


class Block(nn.Module):
    def __init__(self, args, channels, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(channels)
        self.c_attn = make_linear(args, channels, 3 * channels, parts=3)
        self.attn_proj = make_linear(args, channels, channels)
        self.ln_2 = nn.LayerNorm(channels)
        self.c_fc = make_linear(args, channels, 4 * channels)
        self.mlp_proj = make_linear(args, 4 * channels, channels)

    def forward(self, x):
        batch, length, channels = x.shape
        qkv = self.c_attn(self.ln_1(x)).view(batch, length, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(mixed.transpose(1, 2).reshape(batch, length, channels))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self, args):
        super().__init__()
        layers, heads, channels = MODELS[args.model]
        self.wte = nn.Embedding(PADDED_VOCAB, channels)
        self.wpe = nn.Embedding(POSITIONS, channels)
        self.blocks = nn.ModuleList(Block(args, channels, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(channels)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2 and "lora_" not in name:
                residual = "attn_proj" in name or "mlp_proj" in name
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)
            elif "lora_b" in name or name.endswith(".bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[:tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, PADDED_VOCAB).float(), targets.view(-1))


class Trainer:
    def __init__(self, args):
        self.args = args
        self.device = torch.device(args.device)
        self.model = Gpt2(args).to(self.device)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [{"params": [p for p in self.trained if p.dim() >= 2], "weight_decay": 0.1},
                  {"params": [p for p in self.trained if p.dim() < 2], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), fused=True)
        self.loss_of = torch.compile(self.model) if args.compile else self.model

    def step(self):
        for _ in range(self.args.grad_accum):
            window = torch.randint(VOCAB, (self.args.batch_size, self.args.seq_len + 1), device=self.device)
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.args.dtype == "bf16"):
                loss = self.loss_of(window[:, :-1].contiguous(), window[:, 1:].contiguous())
            (loss / self.args.grad_accum).backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def timed_steps(self, count):
        """(seconds of one step, loss) of several, with all of a GPU's work done."""
        start = time.perf_counter()
        for _ in range(count):
            loss = self.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / count, loss.item()

    def memory(self):
        """Bytes by category, under the names of train_relora's memory plan."""
        of = lambda tensors: sum(t.numel() * t.element_size() for t in tensors)
        parameters = list(self.model.named_parameters())
        return {"weights": of(p for name, p in parameters if "lora_" not in name),
                "adapters": of(p for name, p in parameters if "lora_" in name),
                "gradients": of(self.trained),
                "moments": of(t for state in self.optimizer.state.values() for t in state.values())}

    def reset_peak(self):
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            with open("/proc/self/clear_refs", "w") as f:
                f.write("5")  # VmHWM starts again at what is resident now

    def peak_bytes(self):
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))


def parse_args():
    parser = argparse.ArgumentParser(description="PyTorch training step, timed on request")
    parser.add_argument("--model", choices=MODELS, default="gpt2")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="bf16 is autocast over fp32 weights")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model and its loss")
    parser.add_argument("--mode", choices=("full", "lora", "relora"), default="full")
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--alpha", type=float, default=32)
    parser.add_argument("--qkv-adapters", choices=("separate", "fused"), default="separate")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tf32", choices=("on", "off"), default="on",
                        help="of fp32 products on a GPU; train_relora has none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grad-accum", type=int, default=1, help="micro-batches in a step")
    parser.add_argument("--steps-per-turn", type=int, default=1, help="steps that answer one 'step', timed together")
    args = parser.parse_args()
    if args.seq_len > POSITIONS:
        parser.error(f"--seq-len {args.seq_len}: at most {POSITIONS}, the positions of GPT-2")
    return args


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.device == "cuda":
        if not torch.cuda.is_available():
            sys.exit("pytorch_step.py: --device cuda: torch sees no usable GPU")
        torch.set_float32_matmul_precision("high" if args.tf32 == "on" else "highest")
    isa = avoid_broken_amx() if args.device == "cpu" and args.dtype == "bf16" else "all"
    trainer = Trainer(args)
    for _ in range(WARM_UP_STEPS):
        trainer.timed_steps(1)
    trainer.reset_peak()
    emit("ready ", torch=torch.__version__, max_cpu_isa=isa,
         gpu=torch.cuda.get_device_name() if args.device == "cuda" else None,
         parameters=sum(p.numel() for p in trainer.model.parameters()),
         trained=sum(p.numel() for p in trainer.trained), memory=trainer.memory(), **vars(args))
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        if line.strip() == "step":
            seconds, loss = trainer.timed_steps(args.steps_per_turn)
            emit(seconds=seconds, loss=loss)
    emit(peak_bytes=trainer.peak_bytes())


if __name__ == "__main__":
    main()
