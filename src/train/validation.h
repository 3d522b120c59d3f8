// The loss of a model on data that it doesn't train on, and on the one batch that shows what a merge does.
#pragma once

#include <memory>
#include <optional>

#include "io/data_loader.h"
#include "model/gpt2.h"
#include "runtime/ranks.h"
#include "train/options.h"

class Validation {
  public:
    // The validation set of the options, if they name one. The fixed batch is its first, else the first of `train_set`,
    // which must outlive this.
    Validation(const Options& options, const TokenDataset& train_set);

    bool has_data() const { return loader_ != nullptr; }
    // Mean loss of the first batches of the validation set: always the same ones, of which each rank takes its share,
    // and always the same sum. Nothing, on every rank, where a signal has told one of them to stop.
    std::optional<double> loss(GPT2& model, const Ranks& ranks);
    double fixed_loss(GPT2& model) { return model.forward(fixed_batch_); }

  private:
    std::unique_ptr<TokenDataset> data_;
    std::unique_ptr<DataLoader> loader_, fixed_loader_;
    TokenBatch fixed_batch_;  // the fixed loader's
    const int64_t batch_size_;
    int64_t num_batches_ = 0;
};
