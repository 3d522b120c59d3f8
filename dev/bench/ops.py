"""What a training step of GPT-2 computes and moves on a GPU, op by op, and the rates that each op is taken to reach.

Each function follows this repository's code (src/model/forward.cpp, relora.cuh, src/kernels/cuda) for bf16 without recomputation
or dropout. An op takes

    max(FLOPs / rate of its products, bytes / rate of its stream) + exposed bytes / rate of its stream

where exposed bytes are what a product's epilogue moves while no tensor core works. Rates are fractions of a machine's ceilings:
the rates of a large matrix product and of a large copy. The fractions are estimates, nothing here is measured.
"""
import dataclasses
import typing

# ---- the rates that ops are taken to reach -------------------------------------------------------------------------
# They are estimates, to be corrected by what a GPU measures. Where one is given as a quotient by 740, that is the rate in
# TFLOP/s of a large bf16 product on an H100 (model.py).

# These are fractions of a large copy's rate:
STREAM = 0.87           # a pass over several large tensors
WIDE_NORM = 0.68        # LayerNorm's backward over more than 768 columns: a row takes more registers, so fewer rows are in flight
NARROW_STREAM = 0.71    # products with A or B, which read one large operand: short kernels that fill and drain

# These are fractions of a large bf16 product's rate:
# Attention runs on mma.sync. So does FlashAttention-2, which is published at about 230 TFLOP/s for causal heads of 64 and
# T = 1024 on an H100 (Shah et al. 2024, FlashAttention-3); these kernels are taken to reach a little less, and the backward,
# whose operands leave it few registers, less again: its blocks hand ds over through shared memory, and dq through L2.
ATTENTION_FORWARD = 200 / 740
ATTENTION_BACKWARD = 150 / 740
NARROW_PRODUCT = 450 / 740  # (N, r) results, and sums over N: one tile in width
PROJECTION = 150 / 740      # (out, r) and (r, in) results of a sum over in or out: fewer tiles than multiprocessors

# A product whose narrowest dimension is d reaches d / (d + width) of a large one's rate: prologues, epilogues and tiles that
# don't fill the GPU cost as much as `width` more columns would. (To store a bf16 result alone takes 284 / d of the time of
# its arithmetic.)
LINEAR_WIDTH = 245           # forward and input gradient: many tiles
WEIGHT_GRADIENT_WIDTH = 400  # few tiles, so that the sum over the tokens is split and its parts are added up
HEAD_WIDTH = 145             # the vocabulary gives so many tiles that a last, partial wave hardly counts

# The share of an epilogue's traffic, beyond a bf16 result, that other tiles' arithmetic doesn't hide: stores drain beside it,
# loads hold up the tile that asks for them.
EXPOSED_STORE, EXPOSED_LOAD = 0.35, 0.85
# The second pass of cross-entropy finds a row of logits in L2, but for this share: the rows of 264 blocks at once are 27 MB, in
# 50 MB that are two halves. (The gradients take the same lines.)
SECOND_PASS_MISSES = 1 / 8
LAUNCH_GAP = 0.9e-6  # seconds between two kernels of a CUDA graph

LOGIT_BYTES, LOGIT_TILE = 1024 << 20, 256  # the logits that exist at a time, in so many rows (src/model/activations.cpp)
BF16, FP32 = 2, 4                          # bytes

# The parts that step.cpp tells apart when it profiles a step, in its order.
PARTS = ("weights", "low-rank", "effective", "attention", "norm+gelu", "head+loss", "adamw", "rest")
ROUTES = ("merged", "factored", "project")


class Op(typing.NamedTuple):
    """Work of one kind, and the rates it is taken to reach; `kernels` are the launches it takes."""
    name: str
    part: str
    flops: float = 0.0
    bytes: float = 0.0   # what can move beside the arithmetic
    stored: float = 0.0  # bytes of an epilogue, which are in the way in part
    loaded: float = 0.0
    product_share: float = 1.0
    stream_share: float = STREAM
    kernels: int = 1

    def times(self, count):
        return self._replace(flops=count * self.flops, bytes=count * self.bytes, stored=count * self.stored,
                             loaded=count * self.loaded, kernels=count * self.kernels)

    def seconds(self, machine):
        """The time of this work, without the gaps between kernels."""
        exposed = EXPOSED_STORE * self.stored + EXPOSED_LOAD * self.loaded
        return (max(self.flops / machine.product_rate(self), self.bytes / machine.stream_rate(self)) +
                exposed / machine.stream_rate(self))


def product(name, part, m, n, k, width, result=BF16, stored=0.0, loaded=0.0, kernels=1):
    """bf16 (m, k) times (k, n): 2 m n k FLOPs; operands and `result` bytes for each of m n results are moved once."""
    narrowest = min(m, n, k)
    return Op(name, part, 2.0 * m * n * k, BF16 * (m * k + k * n) + float(result * m * n), stored, loaded,
              narrowest / (narrowest + width), kernels=kernels)


def narrow_product(flops, moved, kernels=1, share=NARROW_PRODUCT):
    """A product with A or B of an adapter, which memory limits unless the rank is high."""
    return Op("adapters' products", "low-rank", flops, moved, product_share=share, stream_share=NARROW_STREAM, kernels=kernels)


def stream(name, part, moved, share=STREAM, kernels=1):
    """An op that passes over memory."""
    return Op(name, part, bytes=moved, stream_share=share, kernels=kernels)


# ---- the model ---------------------------------------------------------------------------------------------------


class Linear(typing.NamedTuple):
    """A linear of a block: out x in, and the adapters that it carries side by side."""
    name: str
    out: int
    inputs: int
    sections: int = 1

    @property
    def size(self):
        return self.out * self.inputs

    def adapter_size(self, rank):
        return rank * (self.sections * self.inputs + self.out)


@dataclasses.dataclass(frozen=True)
class GPT2:
    """A GPT-2, with the sizes of src/model/config.cpp."""
    layers: int
    channels: int
    vocab: int = 50257
    positions: int = 1024

    @property
    def padded_vocab(self):
        return (self.vocab + 63) // 64 * 64

    @property
    def linears(self):
        C = self.channels
        return (Linear("attn.c_attn", 3 * C, C, 3), Linear("attn.c_proj", C, C), Linear("mlp.c_fc", 4 * C, C),
                Linear("mlp.c_proj", C, 4 * C))

    @property
    def linear_parameters(self):
        return self.layers * sum(linear.size for linear in self.linears)

    def other_parameters(self, vocab):
        """Embeddings, biases and LayerNorms, with `vocab` rows of the token embedding."""
        C = self.channels
        return (vocab + self.positions) * C + self.layers * 13 * C + 2 * C

    def adapter_parameters(self, rank):
        return self.layers * sum(linear.adapter_size(rank) for linear in self.linears)

    def flops_per_token(self, seq_len, rank=0, routes=()):
        """FLOPs per token as src/model/flops.cpp counts them for MFU: 6 a trained parameter, 4 a frozen one, 12 L C T for
        attention, and what each linear's adapter takes by its route; without routes: full-rank."""
        adapters = sum(2.0 * linear.size if route == "project" else (6.0 if route == "factored" else 4.0) * linear.adapter_size(rank)
                       for linear, route in zip(self.linears, routes))
        return (12.0 * self.layers * self.channels * seq_len + 6.0 * self.other_parameters(self.vocab) +
                (4.0 if routes else 6.0) * self.linear_parameters + self.layers * adapters)


# The models whose heads have 64 columns: the rates of attention above are stated for these.
MODELS = {"gpt2": GPT2(12, 768), "gpt2-medium": GPT2(24, 1024), "gpt2-large": GPT2(36, 1280), "gpt2-xl": GPT2(48, 1600),
          "gpt2-small": GPT2(8, 512), "gpt2-mini": GPT2(6, 384), "gpt2-tiny": GPT2(4, 256), "gpt2-nano": GPT2(3, 192)}


# ---- the ops of a linear -----------------------------------------------------------------------------------------


def linear_ops(linear, rows, rank, route):
    """Forward and backward of relora.cuh's linear_forward and linear_backward; route None: full-rank, rank 0."""
    m, k, N = linear.out, linear.inputs, rows
    factored = route == "factored"
    # GELU is in the epilogue of c_fc, which also stores what went in, and in that of c_proj's input gradient, which loads
    # it; a factored adapter adds to the product first, so that GELU has kernels of its own.
    gives_gelu, takes_gelu = linear.name == "mlp.c_fc", linear.name == "mlp.c_proj"
    ops = [product("linears forward", "weights", N, m, k, LINEAR_WIDTH),
           product("linears dX", "weights", N, k, m, LINEAR_WIDTH)]
    # The residual stream is added in the product, or after a factored adapter has added to that.
    if linear.name.endswith("c_proj"):
        ops.append(stream("residual add", "rest", BF16 * 3 * N * m) if factored else
                   Op("residual in epilogues", "weights", loaded=BF16 * N * m, kernels=0))
    # What makes dY sums it for the bias: LayerNorm's backward, and the product that takes GELU's gradient, whose sums are added
    # by a kernel that has next to nothing to move; attention's backward doesn't.
    if linear.name == "attn.c_attn" or (gives_gelu and factored):
        ops.append(stream("bias gradients", "rest", BF16 * N * m, kernels=2))
    elif gives_gelu:
        ops.append(stream("bias gradients", "rest", 0.0))
    if gives_gelu:
        ops.append(stream("GELU", "norm+gelu", BF16 * 2 * N * m) if factored else
                   Op("GELU in epilogues", "weights", stored=BF16 * N * m, kernels=0))
    if takes_gelu:
        ops.append(stream("GELU", "norm+gelu", BF16 * 3 * N * k) if factored else
                   Op("GELU in epilogues", "weights", loaded=BF16 * N * k, kernels=0))
    if route is None:
        ops.append(product("linears dW", "weights", m, k, N, WEIGHT_GRADIENT_WIDTH, 2 * FP32, kernels=2))  # added to what is there
        return ops

    s, r = linear.sections * rank, rank
    if route == "project":
        ops += [product("linears dW", "weights", m, k, N, WEIGHT_GRADIENT_WIDTH, kernels=2),  # one at a time, in bf16
                narrow_product(2.0 * r * m * k, BF16 * (m * k + s * k) + 2 * FP32 * r * m, share=PROJECTION),  # dB = dW A^T
                narrow_product(2.0 * r * m * k, BF16 * (m * k + r * m) + 2 * FP32 * s * k, share=PROJECTION)]  # dA = B^T dW
        return ops
    by_in, by_out = 2.0 * N * s * k, 2.0 * N * r * m
    read_x, read_dy, u = BF16 * N * k, BF16 * N * m, BF16 * N * s  # u, du: (N, s)
    ops += [narrow_product(by_in, read_x + u),                                   # u = x A^T
            narrow_product(by_out, read_dy + u),                                 # du = dy B
            narrow_product(by_out, read_dy + u + 2 * FP32 * r * m, kernels=2),   # dB = dy^T u
            narrow_product(by_in, read_x + u + 2 * FP32 * s * k, kernels=2)]     # dA = du^T x
    if factored:
        ops += [narrow_product(by_out, 2 * read_dy + u),                         # y += u B^T
                narrow_product(by_in, 2 * read_x + u)]                           # dx += du A
    return ops


def linear_update_ops(linear, rank, route):
    """What an update adds for a linear: W + s B A, in one pass over W and by mma.sync (low_rank_sum.cu)."""
    if route in (None, "factored"):
        return []
    return [Op("W + s B A", "effective", 2.0 * rank * linear.size, BF16 * (2 * linear.size + linear.adapter_size(rank)),
               product_share=ATTENTION_FORWARD)]


# ---- the ops of a step -------------------------------------------------------------------------------------------


def chunks_of_logits(model, rows):
    """Rows of each chunk of bf16 logits: as few equal chunks as LOGIT_BYTES allows (logit_rows in activations.cpp)."""
    most = LOGIT_BYTES // (BF16 * model.padded_vocab) // LOGIT_TILE * LOGIT_TILE
    chunks = -(-rows // most)
    chunk = -(-rows // chunks // LOGIT_TILE) * LOGIT_TILE
    return [min(chunk, rows - first) for first in range(0, rows, chunk)]


def other_ops(model, rows, seq_len):
    """The ops of a micro-batch but for the blocks' linears."""
    C, V, L, N = model.channels, model.padded_vocab, model.layers, rows
    row = BF16 * N * C                        # bytes of one activation of width C
    causal = 1.0 * N * C * seq_len            # FLOPs of a product of attention, of which the mask leaves half
    norm_backward = STREAM if C <= 768 else WIDE_NORM
    block = [
        stream("LayerNorm forward", "norm+gelu", 2 * 2 * row, kernels=2),  # two: x, out
        Op("attention forward", "attention", 2 * causal, 4 * row, product_share=ATTENTION_FORWARD),
        Op("attention backward", "attention", 5 * causal, 8 * row, product_share=ATTENTION_BACKWARD),
        stream("attention row sums", "attention", 2 * row),               # sums of dout * out, for the backward
        stream("LayerNorm backward", "norm+gelu", 2 * 4 * row, norm_backward, kernels=4)]  # two: x, dout, dx += …
    ops = [op.times(L) for op in block]
    ops += [stream("LayerNorm forward", "norm+gelu", 2 * row), stream("LayerNorm backward", "norm+gelu", 3 * row, norm_backward, 2),
            stream("embeddings", "rest", 3 * row),                        # tokens' and positions' rows, sum
            # dout for positions and for tokens, whose rows of the gradient are read and written; tokens are sorted first.
            stream("embeddings", "rest", 2 * row + 2 * FP32 * N * C, kernels=12)]
    for chunk in chunks_of_logits(model, rows):
        logits, embedding = chunk * V, V * C
        ops += [product("head products", "head+loss", chunk, V, C, HEAD_WIDTH, result=0),
                Op("logits stored", "head+loss", stored=BF16 * logits, kernels=0),  # what that product leaves
                stream("cross-entropy", "head+loss", BF16 * (2 + SECOND_PASS_MISSES) * logits),
                product("head products", "head+loss", chunk, C, V, HEAD_WIDTH),
                product("head products", "head+loss", V, C, chunk, HEAD_WIDTH, result=0,
                        stored=FP32 * embedding, loaded=FP32 * embedding)]  # each chunk adds to the whole gradient
    return ops


def optimizer_ops(model, rank):
    """gradient_norm reads each gradient; adamw reads gradient, master and moments, writes the last three and the bf16 weight."""
    elements = model.other_parameters(model.padded_vocab) + (model.adapter_parameters(rank) if rank else model.linear_parameters)
    return [stream("gradient norm", "adamw", FP32 * elements, kernels=2),
            stream("AdamW", "adamw", (4 * FP32 + 3 * FP32 + BF16) * elements)]


def gaps(ops):
    return sum(op.kernels for op in ops) * LAUNCH_GAP


def total_seconds(ops, machine):
    return sum(op.seconds(machine) for op in ops) + gaps(ops)
