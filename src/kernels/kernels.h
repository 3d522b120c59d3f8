// Every op that the model and the method are made of, declared once. The dispatch_*.cpp files check shapes and pick
// device and type; cpu/<op>.cpp and cuda/<op>.cu hold the arithmetic. Shapes stand behind the arguments: a micro-batch,
// the sequences that one forward and backward pass takes, has B sequences of T tokens, so N = B*T rows. "compute type"
// is fp32 or bf16, the type of weights and activations; gradients, moments and statistics are fp32. `accumulate` adds
// to the output instead of overwriting it. All results are bit-reproducible for a fixed thread count.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/rng.h"
#include "runtime/tensor.h"

namespace kernels {

// ---- matrix products (matmul) ------------------------------------------------------------------------------------

// c = alpha * op(a) * op(b) [+ bias over rows] [+ residual], or c += op(a) * op(b), accumulated in fp32. op transposes
// when the flag is set. a, b of one compute type; c of that type or fp32; bias (1, cols of c) of a's type. `residual`
// is of c's shape and type, other memory than c, both contiguous; the sum is rounded once where the library adds it. A
// batch is several such products, whose operands lie a fixed distance after each other; without bias, residual and
// epilogue. An epilogue takes the place of a GELU op on the product p, with `aux` in c's shape; all are of a's type, c
// and aux contiguous. Where it is fused, c is computed from p before p is rounded. Beside gelu_backward there may be
// `column_sums` (1, cols of c) fp32, which become those of c, or with accumulate_sums are added to: a bias's gradient,
// which a fused product rounds to the type of c.
enum class Epilogue {
    none,
    gelu,           // p = op(a) * op(b) [+ bias], aux = p, c = gelu(p)
    gelu_backward,  // p = op(a) * op(b), c = p * gelu'(aux)
};
struct Batch {
    int64_t count = 1;
    int64_t a = 0, b = 0, c = 0;  // elements from an operand to that of the next product
};
struct Matmul {
    Tensor a, b, c, bias, residual;  // in a batch those of the first product
    bool transpose_a = false, transpose_b = false;
    float alpha = 1.0f;
    bool accumulate = false;
    Epilogue epilogue = Epilogue::none;
    Tensor aux;
    Tensor column_sums;
    bool accumulate_sums = false;
    Batch batch = {};
};
// Thrown by matmul where the GPU's library has no algorithm for the product.
class NoAlgorithm : public Error {
  public:
    using Error::Error;
};
void matmul(const Matmul& args);
// How many floats the ops on a device need for themselves. `largest_result`: elements of the largest bf16 product.
int64_t workspace_floats(Device device, DType type, int64_t largest_result);
// Gives the ops of a device this memory, (1, workspace_floats) fp32; returns what they had before.
Tensor set_workspace(Device device, const Tensor& workspace);

// ---- embedding ---------------------------------------------------------------------------------------------------

// out[n] = wte[tokens[n]] + wpe[n mod T]
void embedding_forward(const Tensor& out,            // (N, C)
                       const int32_t* tokens,        // (N)
                       const Tensor& wte,            // (V, C)
                       const Tensor& wpe, int64_t T  // (>=T, C)
);
// dwte[tokens[n]] += dout[n] in order of n (deterministic); dwpe[t] (+)= sum over the batch; rows t >= T are left alone
// when accumulating and zeroed otherwise.
void embedding_backward(const Tensor& dwte,  // (V, C) fp32, always accumulated into
                        const Tensor& dwpe,  // (>=T, C) fp32
                        const Tensor& dout,  // (N, C)
                        const int32_t* tokens, int64_t T, bool accumulate);

// ---- layer norm --------------------------------------------------------------------------------------------------

// out = (x - mean) * rstd * weight + bias with rstd = 1/sqrt(var + 1e-5), over each row.
struct LayerNormForward {
    Tensor out, mean, rstd;  // (N, C), (1, N) fp32, (1, N) fp32
    Tensor x, weight, bias;  // (N, C), (1, C), (1, C)
};
void layernorm_forward(const LayerNormForward& args);
// dx (+)= the gradient through the norm; dweight, dbias (+)= their sums over rows. Where there are `dx_sums`, they (+)=
// the column sums of dx: the gradient of the bias that was added last to what x is.
struct LayerNormBackward {
    Tensor dx, dweight, dbias, dx_sums;  // (N, C), (1, C) fp32 all three
    Tensor dout, x, weight, mean, rstd;  // (N, C), (N, C): what was normalised, (1, C), (1, N) fp32, (1, N) fp32
    bool accumulate_dx = false, accumulate = false;
};
void layernorm_backward(const LayerNormBackward& args);

// ---- element-wise ------------------------------------------------------------------------------------------------

// GELU in its tanh form: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
void gelu_forward(const Tensor& out, const Tensor& x);                      // (N, C)
void gelu_backward(const Tensor& dx, const Tensor& dout, const Tensor& x);  // dx may be dout
// out = a + b, rounded once to out's type: all of one type, or out bf16 and b (perhaps a too) fp32.
void add(const Tensor& out, const Tensor& a, const Tensor& b);  // (N, C)
void convert(const Tensor& out, const Tensor& in);              // between fp32 and bf16, round to nearest even
// These set every element: to zero bits whatever the type, or to `value` in fp32 or bf16.
void zero(const Tensor& out);
void fill(const Tensor& out, float value);
// *out (+)= scale * sum of t, in a fixed order. All fp32, out (1, 1).
void sum(const Tensor& out, const Tensor& t, float scale, bool accumulate);
// dbias (+)= column sums of dout.
void bias_backward(const Tensor& dbias, const Tensor& dout, bool accumulate);  // (1, C) fp32, (N, C)
// out = x * keep / (1 - p), keep where uniform(element) >= p. With `accumulate`, added to out: the backward of itself.
void dropout(const Tensor& out, const Tensor& x, float p, const rng::Stream& stream, bool accumulate);
// out = a + b, rounded to one of the two bf16 next to the sum as the element's word decides, so that over all words the
// mean is the sum (rng::round_to_bf16). Where b is 0, out is a.
void add_dithered(const Tensor& out, const Tensor& a,           // (N, C) bf16
                  const Tensor& b, const rng::Stream& stream);  // (N, C) fp32

// out = w + scale * B A, summed in fp32 and rounded as add_dithered does it. `sections` such sums lie below each other.
struct LowRankSum {
    Tensor out, w;   // (sections * m, k) bf16
    Tensor B, A;     // (sections * m, r), (sections * r, k) bf16
    Tensor scratch;  // (sections * m, k) fp32: for scale * B A, unless a GPU forms the sum in one pass
    int sections = 1;
    float scale = 1;
    rng::Stream stream = {};
};
void add_low_rank(const LowRankSum& args);

// ---- causal self-attention ---------------------------------------------------------------------------------------

// qkv rows hold q, k, v of all heads: (B*T, 3C), head h of q at columns h*HS. out = softmax(q k^T / sqrt(HS), causal)
// v. lse (1, B*NH*T) fp32 = log-sum-exp of the scaled scores, kept for the backward. No (T, T) matrix of more than one
// head exists at a time on any thread.
//
// On a GPU bf16 heads of 64 or 128 take tensor cores, by mma.sync or by wgmma, which compute capability 9.0 alone has;
// `automatic` is mma.sync. The two round sums in different orders. Everything else ignores the choice.
enum class AttentionKernel { automatic, mma, wgmma };
AttentionKernel attention_kernel(const std::string& name);  // auto, mma or wgmma
struct Attention {
    int64_t B = 0, T = 0, NH = 0;
    AttentionKernel kernel = AttentionKernel::automatic;
    Tensor qkv, out, lse;  // (B*T, 3C), (B*T, C), (1, B*NH*T)
    Tensor scratch;        // (1, attention_scratch_floats) fp32
};
// What these kernels lack to take heads of this size, as "needs …"; "" if nothing, or if there is no GPU to be asked.
std::string attention_kernel_problem(AttentionKernel kernel, Device on, DType type, int64_t head_size);
// How many floats of scratch attention needs on a device.
int64_t attention_scratch_floats(Device device, int64_t B, int64_t T, int64_t NH, int64_t head_size);
void attention_forward(const Attention& args);
void attention_backward(const Attention& forward, const Tensor& dqkv, const Tensor& dout);  // (B*T, 3C), (B*T, C)

// ---- loss --------------------------------------------------------------------------------------------------------

// Row losses -log softmax(logits[:V])[target] into losses (1, N). With `dlogits`, also dlogits = (softmax - onehot) *
// scale, zero in the padded columns [V, Vp); `dlogits` may be `logits` itself (in place). Sums and losses are fp32 or
// better whatever the type of the logits.
struct CrossEntropy {
    Tensor losses, logits, dlogits;    // (1, N) fp32, (N, Vp) of one type both; dlogits may be empty
    const int32_t* targets = nullptr;  // (N)
    int64_t V = 0;                     // the columns that are tokens; the others are padding
    float scale = 1.0f;
};
void cross_entropy(const CrossEntropy& args);

// ---- sampling ----------------------------------------------------------------------------------------------------

// token = an id in [0, V) drawn from softmax(logits / temperature) among the top_k likeliest (0: all), where of equal
// logits the smaller id is the likelier: the first id, in order of ids, up to which the probabilities sum to more than
// `uniform`. Temperature 0: the likeliest. Exponentials and sums in double; devices agree unless `uniform` is within
// rounding of a sum.
struct SampleToken {
    Tensor token;   // (1, 1) int32
    Tensor logits;  // (1, V) fp32
    double temperature = 1;
    int64_t top_k = 0;
    float uniform = 0;  // in [0, 1)
};
void sample_token(const SampleToken& args);

// ---- optimizer ---------------------------------------------------------------------------------------------------

// The numbers of one update, fp32 (1, kStepScalars). They live where the tensors do, so that an update on a GPU never
// waits for the host, and a captured update can be replayed with other values.
inline constexpr int kGroups = 3;
enum StepScalar {
    kLoss,           // mean loss of the update, summed over its micro-batches
    kGradientNorm,   // over all trained tensors, before clipping
    kGradientScale,  // the clipping factor
    kTaken,          // 1 if loss and norm are finite and within their limits, else 0: the update is skipped
    kRates,          // for each group of parameters its learning rate
    kCorrections = kRates + kGroups,       // and 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t)
    kUpdate = kCorrections + 2 * kGroups,  // number of the update, an integer below 2^24: keys stochastic rounding
    kWishes,                               // the sum over ranks of what each wishes (Optimizer::Wishes)
    kLossLimit,                            // an update whose loss or gradient norm is above is skipped; 0: no limit
    kNormLimit,
    kReduceSeconds,  // how long it took to reduce the gradients, and how much of that the backward pass did not hide
    kExposedSeconds,
    kStepScalars = 24
};

// A tensor that an update trains, or a range of one. `master` is the fp32 parameter; `weight` receives it rounded when
// the compute type is bf16 (else it is empty). All fp32 but weight. Without a master a bf16 `weight` is the parameter,
// and is rounded stochastically after each update: to nearest, updates smaller than half the distance of two bf16 would
// be lost.
struct TrainedTensor {
    Tensor master, weight, gradient, m, v;
    const Tensor& parameter() const { return master.empty() ? weight : master; }
    bool decays = false;  // weight decay applies
    int group = 0;        // which rate and corrections are its own, below kGroups
    uint32_t id = 0;      // keys stochastic rounding
    int64_t first = 0;    // the place of its first element in the whole tensor: a multiple of 4
};
// All that one update trains, updated together. `table` is memory on the tensors' device for what its kernels need to
// know of them: prepare() fills it, once the tensors have their memory.
struct TrainedTensors {
    std::vector<TrainedTensor> tensors;
    Tensor table;  // (1, trained_table_ints) int32
    void prepare() const;
};
// How many int32 the table of so many tensors has.
int64_t trained_table_ints(int64_t num_tensors);

// The gradients' norm in two steps, between which ranks add what they found: so the sum has the same order, and the
// same bits, on any number of them. A rank sums the squares of the gradients that it keeps, as units of kNormUnit
// elements.
inline constexpr int64_t kNormUnit = 2048;
inline constexpr int64_t norm_units(int64_t n) { return (n + kNormUnit - 1) / kNormUnit; }
struct GradientRange {
    Tensor gradients;   // (1, n) fp32
    int64_t first = 0;  // the number of its first unit, among those of all ranks
};
struct GradientRanges {
    std::vector<GradientRange> ranges;
    Tensor table;  // (1, gradient_table_ints) int32, as that of TrainedTensors
    void prepare() const;
};
int64_t gradient_table_ints(int64_t num_ranges);
// What ranks add: a double for each unit, and each rank's loss and wishes. (1, norm_sums_ints) int32.
struct NormSums {
    Tensor sums;
    int64_t units = 0;  // those of all ranks together
    int rank = 0, ranks = 1;
};
int64_t norm_sums_ints(int64_t units, int ranks);
// Sets the units of these ranges, and this rank's kLoss and kWishes out of `scalars`; all else is 0. Added as integers,
// element by element, the sums of all ranks are everyone's.
void gradient_squares(const NormSums& sums, const GradientRanges& gradients, const Tensor& scalars);
// Sets in `scalars` kLoss and kWishes, the sums over ranks in their order; kGradientNorm = sqrt(sum over units);
// kTaken; and kGradientScale = min(1, max_norm / norm), or 1 if max_norm is 0.
void gradient_norm(const Tensor& scalars, const NormSums& sums, float max_norm);

// One AdamW update (Loshchilov & Hutter, 2019) in one pass over memory, unless kTaken is 0:
//   g *= scale; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
//   p -= lr * ( (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps) + weight_decay * p )
// with scale, lr and the corrections for t from `scalars`.
// Afterwards |m| is held to adamw_moment_bound * sqrt(v), if bounds_m. Moments that grew from gradients never exceed
// it; where a partial reset zeroed v and kept m, the step would otherwise be as large as lr m / eps. For stochastic
// rounding, element j of a tensor draws element first + j of {seed, Purpose::rounding, id, kUpdate}.
struct AdamW {
    double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
    bool bounds_m = true;
    uint64_t seed = 0;
};
void adamw(const Tensor& scalars, const TrainedTensors& trained, const AdamW& hyper);
// The largest |m| / sqrt(v) that any sequence of gradients gives, by Cauchy-Schwarz over the two weighted sums:
// (1-b1) / sqrt((1-b2) (1 - b1^2/b2)); infinite if b1^2 >= b2.
double adamw_moment_bound(double beta1, double beta2);

// ---- the method --------------------------------------------------------------------------------------------------

// These draw out from the stream: uniform on [-bound, bound), element i by word i; or normal with this deviation, by
// Box-Muller from pairs of words.
void fill_uniform(const Tensor& out, float bound, const rng::Stream& stream);
void fill_normal(const Tensor& out, float stddev, const rng::Stream& stream);
// Zeroes the entries where uniform(element) <= p. Returns how many were selected.
int64_t prune_random(const Tensor& t, float p, const rng::Stream& stream);
// Zeroes exactly the ceil(p*n) entries of smallest magnitude; ties at the threshold go in order of index. Returns
// ceil(p*n). `scratch` (1, n) fp32.
int64_t prune_magnitude(const Tensor& t, double p, const Tensor& scratch);
// How many entries are zero.
int64_t count_zeros(const Tensor& t);
// The squared Frobenius norm, summed in double and in a fixed order.
double norm_squared(const Tensor& t);

// ---- ranks -------------------------------------------------------------------------------------------------------

// out = the sum of the rows, the first one first, where out itself is row `own`; no row is where own is negative.
void sum_in_order(const Tensor& out,             // (1, n) fp32
                  const Tensor& rows, int own);  // (R, n) fp32 or bf16
// A number of 64 bits that tells t from other tensors of its size: a sum of mixed elements, exact in any order.
void fingerprint(const Tensor& out, const Tensor& t);  // (1, 2) int32
// A clock of the device: *seconds += the time between the two calls, when what was launched before each is done.
// `clock` (1, 2) int32 keeps the time of start.
void clock_start(const Tensor& clock);
void clock_stop(const Tensor& clock, const Tensor& seconds);  // (1, 1) fp32

// Why the ops can't run on a device, or "" if they can.
std::string device_problem(Device device);
// Whether a GPU times several algorithms at the first use of each shape of a product, from now on. Two such runs give
// the same bits only if the later one recalls what the earlier one kept.
struct AlgorithmMemory {
    // The name of the algorithm that was kept for a product, or "": it is taken where the library still offers it.
    std::function<std::string(const std::string& product)> recall;
    std::function<void(const std::string& product, const std::string& algorithm)> keep;
    // Ranks agree on each choice: this is given the number of this one's among those offered, and returns that of all.
    std::function<int(int)> agree;
};
void set_autotune(bool on, AlgorithmMemory memory = {});

// Use this many threads from now on (0: one for each processor). Returns the number in use; throws where the system
// does not let that many start.
int set_threads(int threads);

}  // namespace kernels
