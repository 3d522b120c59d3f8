#include "train/validation.h"

#include <algorithm>
#include <cstring>

#include "runtime/signals.h"

Validation::Validation(const Options& o, const TokenDataset& train_set) : batch_size_(o.batch_size) {
    const int B = int(o.batch_size), T = int(o.seq_len);
    if (!o.val_data.empty()) {
        data_ = std::make_unique<TokenDataset>(o.val_files.paths(), int(o.config.vocab_size));
        const int64_t batches = data_->num_windows(T) / B;
        CHECK(batches > 0, "--val-data ", o.val_data, " has ", data_->num_tokens(),
              " tokens, less than one micro-batch of ", B * T, " (plus one)");
        num_batches_ = o.eval_batches > 0 ? std::min(o.eval_batches, batches) : batches;
        loader_ = std::make_unique<DataLoader>(*data_, B, T, o.seed, false);
    }
    fixed_loader_ = std::make_unique<DataLoader>(data_ ? *data_ : train_set, B, T, o.seed, false);
    fixed_batch_ = fixed_loader_->next();
}

std::optional<double> Validation::loss(GPT2& model, const Ranks& ranks) {
    std::string own;  // this rank's losses, as bytes
    for (int64_t i = ranks.rank(); i < num_batches_ && signals::stop == 0; i += ranks.size()) {
        if (i == 0 || ranks.size() > 1) loader_->restore({.position = i * batch_size_});
        const double loss = model.forward(loader_->next());
        ranks.note_progress();
        own.append(reinterpret_cast<const char*>(&loss), sizeof loss);
    }
    const std::vector<std::string> all = ranks.gather(own);
    double mean = 0;
    for (int64_t i = 0; i < num_batches_; i++) {
        const std::string& of_rank = all[size_t(i % ranks.size())];
        const size_t at = size_t(i / ranks.size()) * sizeof(double);
        double loss = 0;
        if (of_rank.size() < at + sizeof loss) return {};
        std::memcpy(&loss, of_rank.data() + at, sizeof loss);
        mean += loss / double(num_batches_);
    }
    return mean;
}
