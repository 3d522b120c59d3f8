// GPT-2: pre-LayerNorm blocks, learned positions, tanh GELU, LM head tied to the token embedding; its linears may have
// adapters. This holds the weights, forward and backward. Gradients go to where the parameters' tensors say; what is
// done with them is up to the optimizer.
#pragma once

#include <functional>
#include <map>
#include <tuple>
#include <vector>

#include "model/activations.h"
#include "model/lora.h"
#include "model/parameters.h"
#include "runtime/device.h"
#include "runtime/token_batch.h"
#include "runtime/transfers.h"

class GPT2 {
  public:
    // Builds the parameter table; no memory is allocated before allocate_weights().
    GPT2(const GPT2Config& config, DType compute_type, Device device = Device::cpu);

    // ---- memory
    void allocate_weights();                  // for the whole run
    void allocate_phase(const BatchLimits&);  // adapters, activations, workspaces
    void release_phase();
    // Plan what allocate_weights() and allocate_phase() allocate.
    void plan_weights(MemoryPlan& plan);
    void plan_phase(MemoryPlan& plan, const BatchLimits& limits);
    // On a GPU the launches of a micro-batch are captured once and replayed, unless this is set to false or dropout
    // draws other numbers each time.
    void set_graphs(bool on) { graphs_ = on; }
    void set_attention_kernel(kernels::AttentionKernel kernel) { attention_kernel_ = kernel; }

    // ---- weights
    // Draws the initial values of all but adapters.
    void initialise(uint64_t seed);
    // Rounds the values of parameters to the weights, but of those that ranks share, and forms effective weights; call
    // it after any change of values.
    void values_changed();
    void form_effective_weights();

    // ---- the method
    // Freezes the targeted linears and creates their adapters; call between release_phase and allocate_phase.
    void wrap(const LoraConfig& lora);
    bool wrapped() const { return !adapters_.empty(); }
    // Sets every B to 0, and draws every A anew unless it stays as it is.
    void initialise_adapters(uint64_t seed, uint64_t restart, bool keeps_A = false);
    // Merges every adapter into its weight, of which a rank changes its part; returns the Frobenius norm of the whole
    // update.
    double merge();
    // Resets the moments of every adapter after update `update`.
    relora::ZeroedCount reset_moments(const relora::Reset& reset, uint64_t seed, uint64_t update,
                                      const relora::ChangeWhole& change);
    // fp32 memory that nothing needs between updates, as large as the largest weight that has adapters.
    const Tensor& scratch() const { return scratch_.delta; }

    // ---- forward and backward, of batches within the limits
    // Returns the mean loss over the batch.
    double forward(const TokenBatch& batch);
    // Adds gradient_scale * mean loss to `loss` (1, 1); its gradients are added to what is there (accumulate) or
    // overwrite it. `loss` stays the same tensor throughout a phase, and so does what `completed` launches: it is
    // called for each stage once the gradients of the parameters of that stage are launched, unless it is empty.
    void forward_backward(const TokenBatch& batch, const Tensor& loss, float gradient_scale, bool accumulate,
                          const relora::Pass& pass, const std::function<void(int stage)>& completed = {});
    // Logits after token `position` of one sequence: (1, vocabulary) on the device.
    Tensor logits_at(const TokenBatch& sequence, int64_t position);
    // Draws the token that follows one sequence, among the first V of the vocabulary. `how` says how; its tensors are
    // set here.
    int32_t sample_next(const TokenBatch& sequence, int64_t V, kernels::SampleToken how);

    // Every parameter, then every adapter's A and B.
    std::vector<Parameter*> parameters();
    std::vector<Parameter*> trained_parameters();
    int64_t num_trained();  // elements, without vocabulary padding
    const GPT2Config& config() const { return config_; }
    // Where the weights of each bucket lie.
    const Buckets& weights() const { return weights_; }
    DType compute_type() const { return type_; }
    Device device() const { return device_; }
    const std::vector<relora::Adapter>& adapters() const { return adapters_; }

  private:
    void upload(const TokenBatch& batch);
    const int32_t* tokens() const { return a_.tokens.get<int32_t>(); }  // (N)
    void embed_and_run_blocks(int64_t B, int64_t T, const relora::Pass& pass);
    void embed_and_run_blocks_again(int64_t B, int64_t T);
    void block_forward(int layer, int64_t B, int64_t T, const relora::Pass& pass);
    void block_backward(int layer, int64_t B, int64_t T, const relora::Pass& pass, bool accumulate);
    Tensor output_bias_gradient(int layer) const;
    kernels::Attention attention(int layer, int64_t B, int64_t T);
    // LM head and cross-entropy of N rows: their mean loss, times `scale`, is added to `loss` with a backward pass, and
    // is `loss` without.
    void head(const Tensor& loss, int64_t N, float scale, bool backward, bool accumulate);
    void launch_forward_backward(int64_t B, int64_t T, const Tensor& loss, float scale, bool accumulate,
                                 const relora::Pass& pass, const std::function<void(int)>& completed);

    const GPT2Config config_;
    const DType type_;
    const Device device_;
    ParameterTable table_;
    Buckets weights_;
    std::vector<relora::Adapter> adapters_;  // its size is fixed by wrap(): linears point into it
    relora::Scratch scratch_;
    Activations a_;

    MemoryPlan weights_memory_, phase_memory_;
    device::Upload tokens_upload_;
    bool graphs_ = true;
    kernels::AttentionKernel attention_kernel_ = kernels::AttentionKernel::automatic;
    // The launches of a micro-batch, for each (B, T, gradient scale, accumulate, whether `completed` is called).
    std::map<std::tuple<int64_t, int64_t, float, bool, bool>, device::Graph> graph_of_;
    // The launches of a pass that does not train, up to the head, for each (B, T).
    std::map<std::pair<int64_t, int64_t>, device::Graph> blocks_graph_of_;
};
