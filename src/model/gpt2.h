// GPT-2: configuration, parameter table, memory plan, forward and backward.
// Pre-LayerNorm blocks, learned positions, tanh GELU, LM head tied to the token embedding.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "relora.cuh"
#include "runtime/device.h"
#include "runtime/memory.h"
#include "runtime/transfers.h"

struct GPT2Config {
    int64_t vocab_size = 50257, max_positions = 1024, layers = 12, heads = 12, channels = 768;

    // Rows of the embedding in memory: a multiple of 64, so that products have aligned sizes. The padding stays zero.
    int64_t padded_vocab() const { return (vocab_size + 63) / 64 * 64; }
    int64_t head_size() const { return channels / heads; }
    int64_t num_parameters() const;  // without padding
};

// Named sizes: gpt2, gpt2-medium, gpt2-large, gpt2-xl, and small ones for the CPU. Throws with the list of names.
GPT2Config named_config(const std::string& name);
std::string config_names();

// The full-rank model whose size comes closest to `parameters`, with the head size, vocabulary and positions of `like`:
// among shapes within 2 % of it (else the closest) the one whose width to depth ratio is nearest to `like`'s.
GPT2Config control_config(const GPT2Config& like, int64_t parameters);

// Which linears get adapters: attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj.
enum LinearIndex { kAttnQKV = 0, kAttnProj = 1, kMlpFc = 2, kMlpProj = 3, kLinears = 4 };
struct LoraConfig {
    int64_t rank = 128;
    double alpha = 32;
    double dropout = 0;
    bool targets[kLinears] = {true, true, true, true};
    bool separate_qkv = true;
    std::array<relora::Route, kLinears> routes{};  // merged, of every linear
    // Those that are taken: dropout needs an input of the adapter's own.
    std::array<relora::Route, kLinears> taken_routes() const {
        std::array<relora::Route, kLinears> taken = routes;
        if (dropout > 0) taken.fill(relora::Route::factored);
        return taken;
    }
    // Adapters that a linear carries side by side.
    int sections(int linear) const { return linear == kAttnQKV && separate_qkv ? 3 : 1; }
};
const char* linear_name(int linear);
int64_t linear_in(const GPT2Config& config, int linear);
int64_t linear_out(const GPT2Config& config, int linear);

// How many of N rows the head computes the logits of at once.
int64_t logit_rows(const GPT2Config& config, Device device, int64_t N);

// What the backward computes again instead of keeping it.
enum class Recompute {
    none,
    pointwise,  // what LayerNorm and GELU give: six of the sixteen activations of width C, for little time
    block,      // all but the blocks' inputs: each block's forward runs again
};
Recompute recompute_from(const std::string& name);

// What a phase of training needs memory for.
struct PhaseShape {
    int64_t B = 1, T = 1;  // sequences in a micro-batch, their length
    Recompute recompute = Recompute::none;
    bool trains = true;  // false: forward only (evaluation, sampling, export)
};

class GPT2 {
  public:
    // Builds the parameter table; no memory is allocated before allocate_weights().
    // Without `masters` bf16 weights have no fp32 copy and an update rounds them stochastically; such a model can't
    // merge.
    GPT2(const GPT2Config& config, DType compute_type, Device device = Device::cpu, bool masters = true);

    // ---- memory
    void allocate_weights();                 // weights and masters, for the whole run
    void allocate_phase(const PhaseShape&);  // gradients, moments, adapters, activations, workspaces
    void release_phase();
    // On a GPU the launches of a micro-step and of an update are captured once and replayed, unless this is set to
    // false or dropout draws other numbers in every step.
    void set_graphs(bool on) { graphs_ = on; }
    // What both would take, without allocating.
    void plan_weights(MemoryPlan& plan);  // with masters
    void plan_phase(MemoryPlan& plan, const PhaseShape& shape);

    // ---- weights
    void initialise(uint64_t seed);  // GPT-2's: N(0, 0.02), residual projections N(0, 0.02/sqrt(2L)), wpe N(0, 0.02)
    void masters_to_weights();       // after loading masters

    // ---- the method
    // Freezes the targeted linears and creates their adapters; call between release_phase and allocate_phase. On a GPU
    // the masters of frozen weights go to host memory: only merges and checkpoints touch them.
    void wrap(const LoraConfig& config);
    bool wrapped() const { return !adapters_.empty(); }
    void initialise_adapters(uint64_t seed, uint64_t restart);
    // Merges every adapter into its weight; returns the Frobenius norm of the whole update.
    double merge();
    relora::ZeroedCount reset_moments(const relora::Reset& reset, uint64_t seed, uint64_t restart);

    // ---- forward and backward, over B*T tokens (host memory) that fit the phase's shape
    // Mean loss over the batch.
    double forward(const int32_t* tokens, const int32_t* targets, int64_t B, int64_t T);
    // Adds gradient_scale * mean loss to the update's loss; its gradients are added to what is there (accumulate) or
    // overwrite it.
    void forward_backward(const int32_t* tokens, const int32_t* targets, int64_t B, int64_t T, float gradient_scale,
                          bool accumulate, const relora::Pass& pass);
    // The update's loss over the micro-batches so far; waits for them.
    double loss_so_far() const;
    // Logits of row `position` of one sequence of length T: (1, vocabulary) on the device.
    Tensor logits_at(const int32_t* tokens, int64_t T, int64_t position);
    // A token to follow one sequence of length T, as `how` says but for its tensors, among the first V of the
    // vocabulary.
    int32_t sample_next(const int32_t* tokens, int64_t T, int64_t V, kernels::SampleToken how);

    // ---- optimizer
    // Before the first micro-batch of an update: loss 0, learning rate, Adam's corrections for the next step counts. An
    // update that is skipped for a gradient that is not finite counts too.
    void begin_update(double rate, const kernels::AdamW& hyper);
    // Clips the gradients' global norm to `max_norm` (0: not), and updates everything that trains. Returns the number
    // of its result. hyper and max_norm must be the same throughout a phase.
    int64_t update(const kernels::AdamW& hyper, double max_norm);
    // Loss and gradient norm of the update; when either is not finite the update has been skipped. Time from
    // begin_update on, as the device saw it.
    struct UpdateResult {
        double loss = 0, gradient_norm = 0, seconds = 0;
        bool finite = false;
    };
    // Of one of the last two updates; waits for it.
    UpdateResult update_result(int64_t number);

    // Every parameter, then every adapter's A and B.
    std::vector<Parameter*> parameters();
    std::vector<Parameter*> trained_parameters();
    int64_t num_trained() const;  // elements, without vocabulary padding
    // FLOPs of forward and backward per token: 6 N + 12 L C T over the products that a phase runs (backward of a
    // frozen weight has no weight gradient), adapters included.
    double flops_per_token(int64_t T) const;
    const GPT2Config& config() const { return config_; }
    DType compute_type() const { return type_; }
    Device device() const { return device_; }
    const std::vector<relora::Adapter>& adapters() const { return adapters_; }

  private:
    struct Block {
        Parameter *ln1_weight, *ln1_bias, *ln2_weight, *ln2_bias;
        relora::Linear linear[kLinears];
    };
    // Activations of one block, N = B*T.
    struct BlockActivations {
        Tensor ln1, ln1_mean, ln1_rstd;  // (N, C), (1, N), (1, N)
        Tensor qkv, attention, lse;      // (N, 3C), (N, C), (1, B*NH*T)
        Tensor residual2;                // (N, C): after attention
        Tensor ln2, ln2_mean, ln2_rstd;  // (N, C), (1, N), (1, N)
        Tensor fch, fch_gelu;            // (N, 4C) both
    };

    // Adapters count Adam's steps on their own: a reset may start their count anew.
    static int counter(const Parameter& p) { return p.name.find(".lora_") == std::string::npos ? 0 : 1; }
    Parameter* add_parameter(const std::string& name, int64_t rows, int64_t cols, bool is_matrix, bool conv1d);
    void plan_compute_weights(MemoryPlan& plan);
    void plan_masters(MemoryPlan& plan);
    void move_masters();
    bool on_host(const Parameter& p) const { return device_ == Device::cuda && masters_ && !p.trains; }
    // What an adapter is added to: the master, or its rounded copy where the master is in host memory.
    const Tensor& frozen_weight(const relora::Adapter& a) const;
    // Whether an effective weight takes the place of the rounded W: not where that is all the device has of W.
    bool replaces_weight(const relora::Adapter& a) const {
        return type_ != DType::f32 && !on_host(*linear_of(a).weight);
    }
    const relora::Linear& linear_of(const relora::Adapter& a) const {
        return blocks_[a.id / kLinears].linear[a.id % kLinears];
    }
    // After any change of weights or adapters.
    void form_effective_weights();
    void plan_adapters(MemoryPlan& plan, const PhaseShape& shape);
    void plan_activations(MemoryPlan& plan, const PhaseShape& shape);
    // Brings a batch to the device; targets may be null.
    void upload_batch(const int32_t* tokens, const int32_t* targets, int64_t N);
    const int32_t* tokens() const { return batch_.get<int32_t>(); }   // (N)
    const int32_t* targets(int64_t N) const { return tokens() + N; }  // (N)
    void embed_and_run_blocks(int64_t B, int64_t T, const relora::Pass& pass);
    void forward_backward_on_device(int64_t B, int64_t T, float gradient_scale, bool accumulate,
                                    const relora::Pass& pass);
    void block_forward(int layer, int64_t B, int64_t T, const relora::Pass& pass);
    kernels::Attention attention(int layer, int64_t B, int64_t T);
    void block_backward(int layer, int64_t B, int64_t T, const relora::Pass& pass, bool accumulate);
    void head(int64_t N, float gradient_scale, bool backward, bool accumulate);
    BlockActivations& activations(int layer) { return blocks_activations_[size_t(layer) % blocks_activations_.size()]; }
    // Input of a block, or of the final norm for layer L.
    const Tensor& block_input(int layer) const { return residual_[size_t(layer) % residual_.size()]; }

    GPT2Config config_;
    DType type_;
    Device device_;
    bool masters_;  // whether weights have an fp32 copy of their own
    std::vector<std::unique_ptr<Parameter>> table_;
    Parameter *wte_ = nullptr, *wpe_ = nullptr, *lnf_weight_ = nullptr, *lnf_bias_ = nullptr;
    std::vector<Block> blocks_;
    std::vector<relora::Adapter> adapters_;  // its size is fixed by wrap(): linears point into it

    MemoryPlan weights_plan_, phase_plan_;
    std::unique_ptr<MemoryPlan> masters_plan_;
    Recompute recompute_ = Recompute::none;
    int64_t max_rows_ = 0;
    std::vector<Tensor> residual_;  // L+1 of (N, C): input of each block, then of the final norm
    std::vector<BlockActivations> blocks_activations_;
    Tensor projected_;                          // (N, C): a linear's output before it joins the residual stream
    Tensor lnf_, lnf_mean_, lnf_rstd_;          // (N, C), (1, N), (1, N)
    Tensor losses_, logits_, dlogits_;          // (1, N), (chunk, Vp) fp32, (chunk, Vp) compute type
    Tensor dresidual_, dbuffer_, dqkv_, dfch_;  // (N, C), (N, C), (N, 3C), (N, 4C)
    Tensor batch_;                              // (1, 2 max rows) int32: tokens, then targets
    Tensor sampled_;                            // (1, 1) int32
    Tensor attention_scratch_, workspace_;
    Tensor scalars_, mean_loss_;  // (1, kStepScalars), (1, 1): of a forward without backward
    kernels::TrainedTensors trained_;
    device::Upload batch_upload_, scalars_upload_;
    device::Download results_;
    device::Stopwatch stopwatch_;  // one interval an update
    bool graphs_ = true;
    device::Graph update_graph_;
    // A micro-step for each (B, T, gradient scale, accumulate).
    std::map<std::tuple<int64_t, int64_t, float, bool>, device::Graph> micro_step_graphs_;
    relora::Scratch scratch_;
};
