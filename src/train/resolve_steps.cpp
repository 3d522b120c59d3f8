// The length of a run, its phases and its cycles: what follows from the options given, and refusal of what can't line
// up.
#include <algorithm>

#include "runtime/checked.h"
#include "train/line_up.h"
#include "train/options.h"

namespace {

// Whether one of two periods is a multiple of the other, and fills the low-rank phase.
bool line_up(int64_t merges, int64_t resets, int64_t low) {
    return (merges % resets == 0 || resets % merges == 0) && fills(std::max(merges, resets), low);
}

}  // namespace

void Options::resolve_steps() {
    resolve_length();
    const bool by_default = warmup_steps < 0;
    if (by_default) warmup_steps = std::min<int64_t>(500, max_steps / 20);
    USAGE_CHECK(warmup_steps < max_steps || max_steps == 1, "--warmup-steps ", warmup_steps,
                " leaves nothing of --max-steps ", max_steps, "; at most ", max_steps - 1);
    if (!low_rank()) {
        USAGE_CHECK(warm_start_steps <= 0, "--warm-start-steps is for --mode lora or relora, not ", mode);
        USAGE_CHECK(merge_every < 0, "--merge-every is for --mode relora, not ", mode);
        USAGE_CHECK(reset_every < 0, "--reset-every is for --mode relora, not ", mode);
        warm_start_steps = 0;
        return;
    }
    if (warm_start_steps < 0)
        warm_start_steps = restarts() && init_from.empty() ? max_steps - default_low_rank_steps() : 0;
    const int64_t low = max_steps - warm_start_steps;
    USAGE_CHECK(low > 0, "--warm-start-steps ", warm_start_steps, " leaves nothing of --max-steps ", max_steps,
                " for the low-rank phase");
    if (restarts()) {
        resolve_cycles(low);
    } else {
        USAGE_CHECK(merge_every < 0, "--merge-every is for --mode relora: lora never restarts");
        USAGE_CHECK(reset_every <= 0, "--reset-every is for --mode relora: lora never restarts");
        reset_every = 0;
    }
    const bool jagged = restarts() && restart_warmup_steps > 0;
    if (by_default) warmup_steps = std::min({warmup_steps, low - 1, jagged ? reset_every : low});
    USAGE_CHECK(warmup_steps < low || low == 1, "--warmup-steps ", warmup_steps,
                " doesn't fit into the low-rank phase of ", low, " updates; at most ", low - 1);
    USAGE_CHECK(warmup_steps <= reset_every || !jagged, "--warmup-steps ", warmup_steps,
                " is longer than the first cycle of ", reset_every, " updates; at most ", reset_every);
}

void Options::resolve_length() {
    const int64_t of_rank = batch_size * seq_len;
    USAGE_CHECK(of_rank <= INT32_MAX, "--batch-size ", batch_size, " x --seq-len ", seq_len, " = ", of_rank,
                " tokens in a micro-batch are more than ", INT32_MAX,
                "; --total-batch-tokens makes larger updates of several micro-batches");
    const int64_t micro = of_rank * ranks;
    if (total_batch_tokens < 0) total_batch_tokens = micro;
    USAGE_CHECK(total_batch_tokens % micro == 0, "--total-batch-tokens ", total_batch_tokens,
                " is not a multiple of --batch-size ", batch_size, " x --seq-len ", seq_len,
                ranks > 1 ? str(" x ", ranks, " ranks") : "", " = ", micro, "; ",
                nearest_multiples(total_batch_tokens, micro), " would be");
    accumulation = total_batch_tokens / micro;

    if (max_tokens > 0) {
        const int64_t steps = max_tokens / total_batch_tokens;
        USAGE_CHECK(steps > 0, "--max-tokens ", max_tokens, " is less than one update of ", total_batch_tokens,
                    " tokens");
        // A stored configuration has both, and then they agree.
        USAGE_CHECK(max_steps < 0 || max_steps == steps, "--max-steps ", max_steps, " and --max-tokens ", max_tokens,
                    " (", steps, " updates) contradict each other");
        max_steps = steps;
    }
    if (max_steps < 0) max_steps = 20000;
    checked_product(str(max_steps, " updates of ", total_batch_tokens, " tokens"), {max_steps, total_batch_tokens});
}

// As in the paper, about a quarter of the run is the full-rank phase, the rest three cycles, or as many as there are
// whole ones of the length given.
int64_t Options::default_low_rank_steps() const {
    const auto filled_by = [&](int64_t period) { return std::max<int64_t>(1, max_steps * 3 / 4 / period) * period; };
    const int64_t given = std::max(merge_every, reset_every);
    const int64_t thirds = max_steps < 4 ? std::max<int64_t>(1, max_steps - 1) : max_steps / 4 * 3;
    if (merge_every > 0) return std::min(filled_by(given), max_steps);
    if (given <= 0 || line_up(part_of(thirds, default_cycles()), given, thirds)) return thirds;
    return std::min(3 * given <= max_steps * 3 / 4 ? filled_by(3 * given) : filled_by(given), max_steps);
}

void Options::resolve_cycles(int64_t low) {
    if (merge_every < 0) {
        merge_every = part_of(low, default_cycles());
        if (reset_every > 0 && !line_up(merge_every, reset_every, low)) {
            const int64_t with_resets = std::max<int64_t>(1, merge_every / reset_every) * reset_every;
            merge_every = fills(with_resets, low) ? with_resets : reset_every;
        }
    }
    if (reset_every < 0) reset_every = merge_every;
    if (reset_every > 0)
        USAGE_CHECK(merge_every % reset_every == 0 || reset_every % merge_every == 0, "--merge-every ", merge_every,
                    " and --reset-every ", reset_every,
                    " never line up: one must be a multiple of the other, e.g. --reset-every ",
                    reset_every < merge_every ? nearest_divisors(merge_every, reset_every)
                                              : nearest_multiples(reset_every, merge_every));
    const int64_t period = std::max(merge_every, reset_every);
    USAGE_CHECK(fills(period, low), period == merge_every ? "--merge-every " : "--reset-every ", period,
                " doesn't divide the low-rank phase of ", low, " updates (--max-steps ", max_steps,
                " - --warm-start-steps ", warm_start_steps, "); ", nearest_divisors(low, period),
                " would, or --max-steps ", warm_start_steps + std::max<int64_t>(1, low / period) * period);
    if (reset_every == 0) {
        USAGE_CHECK(restart_warmup_steps <= 0, "--restart-warmup-steps ", restart_warmup_steps,
                    " needs a cycle: --reset-every is 0");
        restart_warmup_steps = 0;
        return;
    }
    // A cycle of one update has no room for a re-warm, and where moments are kept none is needed.
    if (restart_warmup_steps < 0)
        restart_warmup_steps =
            reset == "none" ? 0 : std::min(std::clamp<int64_t>(reset_every / 20, 1, 100), reset_every - 1);
    USAGE_CHECK(restart_warmup_steps < reset_every || restart_warmup_steps == 0, "--restart-warmup-steps ",
                restart_warmup_steps, " doesn't fit into a cycle of ", reset_every, " updates; at most ",
                reset_every - 1);
}
