#include "train/schedule.h"

#include <iomanip>
#include <sstream>

RunSchedule::RunSchedule(const Options& o)
    : low_rank_(o.low_rank()),
      others_restart_(o.others == "restart"),
      switch_step_(o.warm_start_steps),
      merge_every_(o.restarts() ? o.merge_every : 0),
      reset_every_(o.restarts() ? o.reset_every : 0),
      last_restart_(int64_t(o.restart_until * double(o.max_steps - o.warm_start_steps))),
      prunes_(o.reset != "none"),
      full_lr_(o.lr),
      low_lr_(o.lora_lr),
      ratio_(o.lora_plus_ratio),
      other_lr_(o.other_lr) {
    using relora::ScheduleKind;
    relora::Schedule base;
    base.kind = o.schedule == "linear"     ? ScheduleKind::linear
                : o.schedule == "constant" ? ScheduleKind::constant
                : o.schedule == "wsd"      ? ScheduleKind::wsd
                                           : ScheduleKind::cosine;
    base.num_steps = o.max_steps;
    base.warmup = o.warmup_steps;
    base.floor = o.min_lr_ratio;
    base.decay_fraction = o.wsd_decay_fraction;
    base.skip_zero_rate = o.skip_zero_rate;
    full_schedule_ = low_schedule_ = base;
    low_schedule_.num_steps = o.max_steps - switch_step_;
    if (o.restarts()) {
        low_schedule_.cycle = reset_every_;
        low_schedule_.last_drop = last_restart_;
        low_schedule_.rewarm = o.restart_warmup_steps;
    }
}

std::string RunSchedule::table() const {
    std::ostringstream out;
    out << "step\tphase\tmultiplier\tlr\tlr_A\tlr_B\tevents\n" << std::setprecision(9) << std::fixed;
    for (int64_t s = 0; s < num_steps(); s++) {
        std::string events;
        const auto add = [&](bool happens, const char* name) {
            if (!happens) return;
            if (!events.empty()) events.push_back(',');
            events.append(name);
        };
        add(switches_before(s), "switch");
        add(merges_after(s), "merge");
        add(resets_after(s) && prunes_, "reset");
        out << s << '\t' << phase(s) << '\t' << multiplier(s) << '\t' << std::scientific << rates(s).others << '\t'
            << rates(s).A << '\t' << rates(s).B << std::fixed << '\t' << events << '\n';
    }
    return out.str();
}
