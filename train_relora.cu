// train_relora: the program, read top to bottom. Options, schedule, training loop; no arithmetic.
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include "checkpoint/checkpoint.h"
#include "checkpoint/huggingface.h"
#include "checkpoint/merged.h"
#include "checkpoint/run_folder.h"
#include "checkpoint/saver.h"
#include "checkpoint/verify.h"
#include "io/files.h"
#include "io/folder_lock.h"
#include "io/held_folder.h"
#include "io/metrics.h"
#include "io/paths.h"
#include "io/temporary.h"
#include "kernels/op_timer.h"
#include "model/flops.h"
#include "optimizer/kept_moments.h"
#include "optimizer/masters.h"
#include "optimizer/optimizer.h"
#include "optimizer/whole.h"
#include "runtime/build.h"
#include "runtime/cpu/denormals.h"
#include "runtime/cpu/spinning.h"
#include "runtime/descriptors.h"
#include "runtime/device.h"
#include "runtime/ranks.h"
#include "runtime/ranks/starter.h"
#include "runtime/signals.h"
#include "train/agreement.h"
#include "train/algorithms.h"
#include "train/branch.h"
#include "train/console.h"
#include "train/dry_run.h"
#include "train/health.h"
#include "train/memory_check.h"
#include "train/profile.h"
#include "train/resume.h"
#include "train/route_choice.h"
#include "train/run_data.h"
#include "train/sample.h"
#include "train/schedule.h"
#include "train/validation.h"

namespace fs = std::filesystem;

namespace {

class Trainer {
  public:
    Trainer(Options& options, int threads, const Ranks& ranks)
        : o_(options),
          threads_(threads),
          ranks_(ranks),
          schedule_(options),
          model_(o_.config, o_.compute_type(), o_.run_device),
          masters_(o_.compute_type(), o_.run_device),
          optimizer_(o_.compute_type(), o_.run_device,
                     {.adamw = {.beta1 = o_.beta1,
                                .beta2 = o_.beta2,
                                .eps = o_.eps,
                                .weight_decay = o_.weight_decay,
                                .bounds_m = o_.moment_bound == "on",
                                .seed = o_.seed},
                      .max_norm = o_.grad_clip,
                      .sharing = o_.sharing(ranks.rank()),
                      .reduced_as = o_.reduced_as()},
                     ranks),
          weight_check_(ranks, o_.run_device),
          console_(ranks.first()),
          saver_(ranks, o_.run_device, {.newest = o_.keep, .every = o_.keep_every}),
          health_({.watches = o_.outliers != "off",
                   .skips = o_.outliers == "skip",
                   .zscore = o_.outlier_zscore,
                   .most_skipped = o_.max_skipped}) {
        o_.sharing(ranks_.rank()).divide(model_.parameters());
    }

    int run() {
        if (const std::string idle = o_.without_effect(); !idle.empty())
            console_.line("without effect in this run: " + idle);
        open_data();
        open_run_folder();
        start();
        // A run that has all updates but no export was stopped by a signal in the last one, or failed in finish(),
        // which is done again.
        if (step_ == o_.max_steps && path_exists(o_.out + "/export")) {
            console_.line("the run is complete: all " + std::to_string(step_) + " updates are done");
            return 0;
        }
        if (resumes() && !o_.branches && due(o_.eval_every, step_)) validate(step_);  // where a signal has ended it
        for (; step_ < o_.max_steps && !wants_to_stop(); step_++) update();
        report_pending();
        return finish();
    }

  private:
    // ---- set-up

    void open_data() {
        for (const std::string& note : o_.data_notes) console_.line(note);
        USAGE_CHECK(!o_.train_data.empty(),
                    "--train-data is missing: the token shards to train on, e.g. 'shards/train_*.bin'");
        train_set_ = std::make_unique<TokenDataset>(o_.train_files.paths(), int(o_.config.vocab_size));
        CHECK(train_set_->num_windows(int(o_.seq_len)) * o_.seq_len >= o_.total_batch_tokens, "--train-data ",
              o_.train_data, " has ", train_set_->num_tokens(), " tokens, less than one update of ",
              o_.total_batch_tokens, " (plus one)");
        loader_ = std::make_unique<DataLoader>(*train_set_, int(o_.batch_size), int(o_.seq_len), o_.seed, true,
                                               ranks_.rank(), ranks_.size());
        validation_ = std::make_unique<Validation>(o_, *train_set_);
        if (o_.sample_tokens > 0) sampler_.emplace(o_);
    }

    void open_run_folder() {
        if (ranks_.first()) {
            hold_folder();
            lock_ = std::make_unique<FolderLock>(o_.out, [this](const std::string& line) { console_.line(line); });
            check_run_folder(o_);
        }
        ranks_.barrier();  // the folder is this run's
        if (!resumes()) return;
        resumed_ = read_state(o_.resumed_from);
        if (!o_.branches) check_resumed_options(o_, resumed_, o_.resumed_from);
        const auto lines = o_.branches ? begin_branch(o_, resumed_) : check_resumed_data(o_, resumed_, o_.resumed_from);
        for (const std::string& line : lines) console_.line(line);
    }
    bool resumes() const { return !o_.resumed_from.empty(); }

    void hold_folder() {
        std::error_code error;
        fs::create_directories(o_.out, error);
        if (error) fail_errno("create", o_.out, error.value());
        folder_ = std::make_unique<HeldFolder>(o_.out);
    }

    void start() {
        // What only one rank measures is measured before choices become everyone's.
        kernels::AlgorithmMemory algorithms;
        if (o_.autotune) algorithms = kept_algorithms(o_.run_device, console_);
        if (!ranks_.first()) algorithms.keep = {};
        kernels::set_autotune(o_.autotune && ranks_.alone(), algorithms);
        ceilings_.flops_per_s = measure_product(o_.run_device, o_.compute_type());
        if (o_.profile) ceilings_.bytes_per_s = measure_copy(o_.run_device);
        if (o_.chooses_routes()) {
            const auto resumed = resumed_.option(kChosenRoutes);
            const auto chosen = [&] { return resumed ? *resumed : to_string(choose_routes(o_, threads_, console_)); };
            o_.lora.routes = routes_from(ranks_.broadcast(ranks_.first() ? chosen() : ""));
        }
        if (!ranks_.alone()) {
            algorithms.agree = [this](int own) {
                return alone_for_now_ ? own : std::stoi(ranks_.broadcast(std::to_string(own)));
            };
            kernels::set_autotune(o_.autotune, algorithms);
        }
        model_.allocate_weights();
        if (o_.has_masters()) masters_.allocate(model_.parameters());
        if (resumes()) {
            restore();
        } else {
            if (o_.low_rank() && o_.warm_start_steps == 0) wrap_at_start();
            allocate_phase();
            if (o_.init_from.empty()) {
                model_.initialise(o_.seed);
            } else {
                load_merged(model_, o_.init_from);
                gather_linears();  // each rank has merged its part
            }
            if (model_.wrapped()) model_.initialise_adapters(o_.seed, 0);
        }
        if (ranks_.first()) open_log();
        validated_ =
            !ranks_.broadcast(metrics_ && metrics_->resumed_with("val_loss") ? "yes" : "").empty() ? step_ : -1;
        weight_check_.check("at the start");
        kernels::set_op_timing(o_.profile);
        const bool graphs = !o_.no_cuda_graph && !o_.profile;
        model_.set_graphs(graphs);
        model_.set_attention_kernel(kernels::attention_kernel(o_.attention));
        optimizer_.set_graphs(graphs);
        std::string place = on_gpu() ? device::description(o_.run_device) : format("%d threads", threads_);
        if (!ranks_.alone()) place = format("%d ranks, each on ", ranks_.size()) + place;
        console_.line(
            format("%lld parameters, %lld trained in this phase; %lld tokens per update; %s; products reach %.0f "
                   "GFLOP/s in %s",
                   (long long)o_.config.num_parameters(), (long long)model_.num_trained(),
                   (long long)o_.total_batch_tokens, place.c_str(), ceilings_.flops_per_s * 1e-9, o_.dtype.c_str()));
        if (o_.low_rank() && o_.lr > 0) console_.line("the adapters move W at " + o_.adapter_step());
        if (resumes() && !o_.branches)
            console_.line("resumed from " + o_.resumed_from);
        else if (o_.resume)
            console_.line("--resume: there is no checkpoint in " + o_.out + " yet, the run begins");
        report_traffic();
        start_time_ = saved_time_ = seconds_now();
        first_step_ = step_;
    }

    void open_log() {
        remove_stale_temporaries(o_.out);
        check_room(o_.out, checkpoint_bytes(model_.parameters()));
        if (resumes())
            leave_other_future();
        else if (path_exists(o_.out + "/metrics.jsonl"))
            set_aside(o_.out + "/metrics.jsonl");  // of a run that was lost before its first checkpoint
        if (!on_gpu()) o_.threads = threads_;      // a resume elsewhere has the same bits
        write_file_atomic(o_.out + "/config.toml", o_.to_toml());
        metrics_ = std::make_unique<MetricsLog>(o_.out + "/metrics.jsonl", resumes() ? step_ : -1);
        if (!metrics_->damage().empty()) console_.line(o_.out + "/metrics.jsonl: " + metrics_->damage());
        if (o_.branches)
            log(MetricsLine()
                    .add("step", step_ + 1)
                    .add("event", "branch")
                    .add("from", resumed_.branches.back().folder));
    }

    // What the run made after the checkpoint that it goes on from, and what is damaged, gets other names.
    void leave_other_future() {
        for (const std::string& reason : o_.passed_over) console_.line("passed over: " + reason);
        std::vector<std::string> names = set_aside_later(o_.out, step_);
        const std::string complete = o_.out + "/export";
        if (step_ < o_.max_steps && path_exists(complete)) names.push_back(set_aside(complete));
        for (const std::string& name : names) console_.line("set aside, as the run goes on without it: " + name);
    }

    void restore() {
        step_ = resumed_.step;
        restarts_ = resumed_.restarts;
        health_.restore(resumed_.health);
        if (resumed_.low_rank) wrap_at_start();
        allocate_phase();
        read_parameters(o_.resumed_from, resumed_, model_.parameters());
        model_.values_changed();
        loader_->restore(resumed_.data);
    }

    bool on_gpu() const { return o_.run_device == Device::cuda; }

    void wrap() {
        model_.wrap(o_.lora);
        o_.sharing(ranks_.rank()).divide(model_.parameters());
    }
    // Wraps a model that has not trained yet.
    void wrap_at_start() {
        wrap();
        masters_.settle(model_.parameters());
    }
    void allocate_phase() {
        model_.allocate_phase(o_.batch_limits());
        optimizer_.allocate(model_.trained_parameters(), model_.weights());
        weight_check_.prepare(model_.parameters());
        flops_per_token_ = flops_per_token(o_.config, model_.wrapped() ? &o_.lora : nullptr, o_.seq_len);
    }

    Whole whole() const { return Whole(ranks_, model_.scratch()); }
    void gather_linears() {
        for (const Parameter* p : model_.parameters())
            if (p->role == Role::linear && p->has_master) whole().gather_weight(*p);
    }

    // ---- one update

    // Ranks stop together: after an update whose numbers say that one of them has got a signal.
    bool wants_to_stop() const { return ranks_.alone() ? asks_to_stop() : stop_; }
    bool asks_to_stop() const { return signals::stop != 0 || folder_lost(); }
    // What this rank wishes; the first one decides when to save.
    Optimizer::Wishes wishes() const {
        if (o_.stop_after_minutes > 0 && seconds_now() - start_time_ > 60 * o_.stop_after_minutes && signals::stop == 0)
            signals::stop = SIGTERM;
        const bool due = o_.save_minutes > 0 && seconds_now() - saved_time_ > 60 * o_.save_minutes;
        return {.stop = asks_to_stop(), .save = ranks_.first() && (due || signals::save != 0)};
    }
    // Whether something that is done every so many updates comes after this one; finish() sees to the last one.
    bool due(int64_t every, int64_t done) const {
        return every > 0 && done > 0 && done % every == 0 && done < o_.max_steps;
    }
    // The first rank sees to the run folder.
    bool folder_lost() const { return folder_ && !folder_->in_place(); }

    void update() {
        ranks_.check();
        ranks_.note_progress();
        if (schedule_.switches_before(step_) && !model_.wrapped()) switch_to_low_rank();
        PendingReport report{.step = step_};
        const double waited = loader_->wait_seconds();
        const Optimizer::Wishes own = wishes();
        optimizer_.begin_update(schedule_.rates(step_), own, health_.skipping_limits(step_));
        for (int64_t micro = 0; micro < o_.accumulation; micro++) {
            const TokenBatch batch = loader_->next();
            const int64_t index = (step_ * o_.accumulation + micro) * ranks_.size() + ranks_.rank();
            const relora::Pass pass{.seed = o_.seed, .index = uint64_t(index), .training = true};
            const float scale = 1.0f / float(o_.accumulation * ranks_.size());
            const bool last = micro + 1 == o_.accumulation;
            timed("model", [&] {
                model_.forward_backward(batch, optimizer_.loss(), scale, micro > 0, pass,
                                        last ? optimizer_.completed() : kNothing);
            });
        }
        profile_.add("data", loader_->wait_seconds() - waited);
        timed("optimizer", [&] { report.result = optimizer_.update([this] { model_.form_effective_weights(); }); });
        // A GPU is given this update before the numbers of the one before are waited for, so that it never waits for
        // the host.
        report_pending();
        pending_ = report;
        const int64_t done = step_ + 1;
        const bool ends_cycle = schedule_.merges_after(step_) || schedule_.resets_after(step_);
        // Ranks save together, when the numbers of an update say that the first one wishes it.
        const bool saves = due(o_.save_every, done) || owes_save_ || (ranks_.alone() ? own.save : save_);
        const bool more = ends_cycle || due(o_.eval_every, done) || due(o_.sample_every, done) || saves;
        if (more || !on_gpu() || schedule_.switches_before(done)) report_pending();
        if (ends_cycle) timed("end of cycle", [&] { end_cycle(); });
        if (o_.check_every > 0 && done % o_.check_every == 0)
            weight_check_.check("after update " + std::to_string(done));
        if (due(o_.eval_every, done)) validate(done);
        if (due(o_.sample_every, done)) print_sample(done);
        if (saves && done < o_.max_steps) save(done);
        if (!folder_lost()) report_saved();
    }

    // Runs body as a part of the profile, which on a GPU includes what it launched.
    template <class Body>
    void timed(const char* part, const Body& body) {
        profile_.time(part, [&] {
            body();
            if (o_.profile) device::wait(o_.run_device);
        });
    }

    // The switch: gives the linears adapters, and frees their gradients and moments.
    void switch_to_low_rank() {
        const size_t before = device::bytes_in_use(o_.run_device);
        wrap();
        std::optional<KeptMoments> kept;
        if (o_.others == "continue") kept.emplace(model_.trained_parameters());
        optimizer_.release();
        model_.release_phase();
        masters_.settle(model_.parameters());
        allocate_phase();
        if (kept) kept->restore();
        model_.initialise_adapters(o_.seed, 0);
        console_.line(format("step %lld: switch to low rank %lld; %lld parameters train; memory %.1f -> %.1f MiB",
                             (long long)step_, (long long)o_.rank, (long long)model_.num_trained(),
                             double(before) / (1 << 20), double(device::bytes_in_use(o_.run_device)) / (1 << 20)));
        log(MetricsLine().add("step", step_ + 1).add("event", "switch").add("trained", model_.num_trained()));
        weight_check_.check("after the switch");
        health_.begin_window();
        report_traffic();
    }

    // Merges and re-initialises the adapters, and resets their moments, each when the schedule says so.
    void end_cycle() {
        MetricsLine line;
        line.add("step", step_ + 1).add("event", "restart");
        std::string text;
        if (schedule_.merges_after(step_)) {
            const double before = validation_->fixed_loss(model_);
            const double delta = model_.merge();
            gather_linears();
            restarts_++;
            model_.initialise_adapters(o_.seed, uint64_t(restarts_), o_.restart_A == "keep");
            const double after = validation_->fixed_loss(model_);
            text = format("merge %lld, |dW| %.4f, loss of a fixed batch %.6f before, %.6f after", (long long)restarts_,
                          delta, before, after);
            line.add("delta_norm", delta).add("loss_before", before).add("loss_after", after);
        }
        if (schedule_.resets_after(step_) && o_.reset_config.kind != relora::ResetKind::none) {
            const relora::ZeroedCount zeroed = model_.reset_moments(
                o_.reset_config, o_.seed, uint64_t(step_ + 1),
                [this](Parameter& p, Tensor Parameter::*moment, const std::function<void(const Tensor&)>& change) {
                    whole().change(p, moment, change);
                });
            text += format("%s%.4f %% of the adapters' moments are zero", text.empty() ? "" : "; ",
                           100 * zeroed.fraction());
            line.add("zeroed_fraction", zeroed.fraction());
        }
        health_.begin_window();
        if (text.empty()) return;  // only the rate drops
        console_.line(format("step %lld: ", (long long)step_ + 1) + text);
        log(line.add("restart", restarts_));
        weight_check_.check(format("after the restart at update %lld", (long long)step_ + 1));
    }

    // ---- reports

    void log(const MetricsLine& line) {
        if (metrics_) metrics_->write(line);
    }

    // What this phase sends, and what it would if all parameters trained.
    void report_traffic() {
        if (ranks_.size() == 1) return;
        const Optimizer::Traffic now = optimizer_.traffic(model_.trained_parameters());
        GPT2 full(o_.config, o_.compute_type());
        const Optimizer::Traffic all = optimizer_.traffic(full.trained_parameters());
        const auto bytes = [](const Optimizer::Traffic& t) { return double(t.gradients + t.weights); };
        console_.line(
            format("each rank sends %.1f MB of gradients and %.1f MB of weights in an update, %.0f %% of what "
                   "full-rank training sends",
                   double(now.gradients) * 1e-6, double(now.weights) * 1e-6, 100 * bytes(now) / bytes(all)));
        log(MetricsLine()
                .add("step", step_ + 1)
                .add("event", "ranks")
                .add("ranks", ranks_.size())
                .add("gradient_bytes", now.gradients)
                .add("weight_bytes", now.weights)
                .add("full_rank_bytes", all.gradients + all.weights));
    }

    // Reports the last update, unless it has been reported already. Waits for its numbers.
    void report_pending() {
        if (!pending_) return;
        const PendingReport report = *pending_;
        pending_.reset();
        const Optimizer::Result result = optimizer_.result(report.result);
        ranks_.check();  // the numbers of an update that another rank's failure has ended mean nothing
        stop_ = stop_ || result.wishes.stop;
        save_ = save_ || result.wishes.save;
        ranks_.note_progress();
        // A skipped update counts too, so that rate and merges stay where they were planned.
        const std::string unusual = health_.add(report.step, result);
        if (!unusual.empty()) console_.line(format("step %lld: ", (long long)report.step + 1) + unusual);
        report_step(report.step, result, unusual);
        if (health_.skipped_too_many()) fail_as_skipped();
    }

    // The run can't go on. Its checkpoints are from before.
    void fail_as_skipped() {
        const std::string first = first_not_finite(model_.parameters());
        FAIL("the last ", health_.state().skipped_in_a_row, " updates were skipped, to step ", step_ + 1, ": ",
             first.empty() ? "their loss or gradient norm is not finite or an outlier" : first + " is not finite",
             "; nothing is exported; a lower --lr, or --resume-from an older checkpoint, may help");
    }

    void report_step(int64_t step, const Optimizer::Result& result, const std::string& unusual) {
        const int64_t done = step + 1;
        const Optimizer::Rates rates = schedule_.rates(step);
        const double tokens_per_s = double(o_.total_batch_tokens) / result.seconds;
        const double mfu = flops_per_token_ * tokens_per_s / ceilings_.flops_per_s / ranks_.size();
        MetricsLine line;
        line.add("step", done)
            .add("phase", schedule_.phase(step))
            .add("loss", result.loss)
            .add("lr", rates.others)
            .add("grad_norm", result.gradient_norm)
            .add("tokens", tokens_after(resumed_.branches, done, o_.total_batch_tokens))
            .add("tokens_per_s", tokens_per_s)
            .add("mfu", mfu)
            .add("restart", restarts_);
        if (schedule_.low_rank(step)) line.add("lr_A", rates.A).add("lr_B", rates.B);
        if (!unusual.empty())
            line.add("unusual", unusual)
                .add("skipped", health_.state().skipped)
                .add("outliers", health_.state().outliers);
        std::string reduced;
        if (!ranks_.alone()) {
            const double hidden = 1 - std::min(1.0, result.exposed_seconds / std::max(1e-9, result.reduce_seconds));
            line.add("reduce_s", result.reduce_seconds).add("reduce_hidden", hidden);
            reduced = format("reduced in %.1f ms, %.0f %% hidden  ", 1e3 * result.reduce_seconds, 100 * hidden);
        }
        log(line);
        const double eta = (seconds_now() - start_time_) / double(done - first_step_) * double(o_.max_steps - done);
        console_.progress(
            format("step %lld/%lld %s  loss %.4f  lr %.2e  norm %.2f  %.0f tokens/s  %.0f %% of the ceiling  %sETA %s",
                   (long long)done, (long long)o_.max_steps, schedule_.phase(step), result.loss, rates.others,
                   result.gradient_norm, tokens_per_s, 100 * mfu, reduced.c_str(), duration(eta).c_str()),
            done % o_.log_every == 0 || done == o_.max_steps);
    }

    void validate(int64_t done) {
        if (!validation_->has_data() || done == validated_) return;
        const auto loss = profile_.time("validate", [&] { return validation_->loss(model_, ranks_); });
        stop_ = stop_ || !loss;
        if (!loss) return;  // by a signal; a resume does it
        validated_ = done;
        log(MetricsLine()
                .add("step", done)
                .add("phase", schedule_.phase(done - 1))
                .add("val_loss", *loss)
                .add("restart", restarts_));
        console_.line(format("step %lld: validation loss %.4f", (long long)done, *loss));
    }

    void print_sample(int64_t done) {
        if (!sampler_ || !ranks_.first()) return;
        alone_for_now_ = true;
        console_.line(format("step %lld: sample", (long long)done));
        console_.line(profile_.time("sample", [&] { return sampler_->text(model_, uint64_t(done)); }));
        alone_for_now_ = false;
    }

    // ---- end

    RunState state(int64_t done) const {
        RunState s;
        s.step = done;
        s.restarts = restarts_;
        s.low_rank = model_.wrapped();
        s.data = loader_->state();
        s.branches = resumed_.branches;
        s.train_data = o_.train_files;
        s.val_data = o_.val_files;
        s.health = health_.state();
        s.seed = o_.seed;
        s.config = o_.config;
        s.rank = o_.rank;
        s.alpha = o_.alpha;
        s.options = o_.trajectory();
        if (o_.chooses_routes()) s.options.push_back({kChosenRoutes, to_string(o_.lora.routes)});
        return s;
    }
    void save(int64_t done) {
        if (done == saved_) return;  // by update(), before a signal ended the loop
        // The last checkpoint stays the last good one until the model can be trusted again.
        owes_save_ = health_.state().skipped_in_a_row > 0 && !std::isfinite(validation_->fixed_loss(model_));
        if (owes_save_)
            return console_.line(format("step %lld: not saved, the model's loss is not finite", (long long)done));
        if (lock_) lock_->check();
        saved_ = done;
        saved_time_ = seconds_now();
        save_ = false;
        signals::save = 0;
        if (metrics_) metrics_->sync();
        const bool goes_on = done < o_.max_steps && !wants_to_stop();
        profile_.time("save", [&] { saver_.save(folder_.get(), state(done), model_.parameters(), whole(), goes_on); });
        report_saved();
    }
    // Says what has been written by now.
    void report_saved() {
        while (const auto saved = saver_.finished()) {
            written_ = saved->step;
            const std::string why = saved->why_paused.empty() ? "" : ": " + saved->why_paused;
            console_.line(format("saved %s (paused %.0f ms%s, written in %.1f s)", saved->folder.c_str(),
                                 1e3 * saved->paused, why.c_str(), saved->written));
            log(MetricsLine()
                    .add("step", saved->step)
                    .add("event", "save")
                    .add("paused_s", float(saved->paused))
                    .add("copied_s", float(saved->copied))
                    .add("written_s", float(saved->written)));
        }
    }

    // Where the run folder has got another name, or is gone, the run ends with a checkpoint where one can be.
    void end_if_folder_lost() {
        if (ranks_.broadcast(folder_lost() ? "lost" : "").empty()) return;
        saver_.wait();
        report_saved();
        saved_ = written_;
        std::string loss;
        if (folder_ && folder_->place().empty()) {
            loss = "removed";
            CHECK(!path_exists(o_.out), "the run folder ", o_.out,
                  " was removed during the run, and there is another in its place: nothing was saved");
            hold_folder();
            write_file_atomic(o_.out + "/config.toml", o_.to_toml());
            saved_ = -1;
        } else if (folder_) {
            loss = "renamed to " + folder_->place();
        }
        saved_ = std::stoll(ranks_.broadcast(std::to_string(saved_)));
        save(step_);
        FAIL("the run folder ", o_.out, " was ", loss, " during the run; it ends with a checkpoint after ", step_,
             " updates in ", folder_ ? folder_->place() : "");
    }

    int finish() {
        end_if_folder_lost();
        if (step_ > first_step_ || !resumes()) save(step_);  // a signal may have come before the first update
        saver_.wait();
        report_saved();
        if (wants_to_stop()) return stopped();
        CHECK(!owes_save_, "the run ends with a model whose loss is not finite: nothing is exported");
        validate(step_);
        print_sample(step_);
        if (wants_to_stop()) return stopped();
        const std::string folder = o_.out + "/export";
        if (ranks_.broadcast(path_exists(folder) ? "there" : "").empty()) {
            if (model_.wrapped()) model_.merge();
            if (metrics_) metrics_->sync();  // a run that has its export is complete
            write_huggingface(folder, o_.config, model_.parameters(), whole());
            console_.line("merged model for Hugging Face: " + folder);
        }
        print_profile();
        if (const int64_t skipped = health_.state().skipped; skipped > 0)
            console_.line("skipped updates: " + std::to_string(skipped));
        console_.line("run folder: " + o_.out);
        return 0;
    }

    void print_profile() {
        if (o_.profile) console_.line(profile_.table(ceilings_));
    }

    int stopped() {
        print_profile();
        console_.line(format("stopped by a signal after %lld of %lld updates; go on with --resume --out ",
                             (long long)step_, (long long)o_.max_steps) +
                      o_.out);
        return 128 + signal_of_all();
    }
    // The signal that one of the ranks has got.
    int signal_of_all() const {
        int signal = 0;
        for (const std::string& of_rank : ranks_.gather(std::to_string(signals::stop)))
            signal = std::max(signal, std::stoi(of_rank));
        return signal;
    }

    inline static const std::function<void(int)> kNothing;

    Options& o_;
    const int threads_;
    const Ranks& ranks_;
    RunSchedule schedule_;
    GPT2 model_;
    Masters masters_;
    Optimizer optimizer_;
    WeightCheck weight_check_;
    Console console_;
    Profile profile_;
    std::unique_ptr<TokenDataset> train_set_;
    std::unique_ptr<DataLoader> loader_;
    std::unique_ptr<Validation> validation_;
    std::optional<Sampler> sampler_;  // empty if the run prints no samples
    std::unique_ptr<MetricsLog> metrics_;
    RunState resumed_;
    std::unique_ptr<HeldFolder> folder_;  // the run folder, of the first rank
    std::unique_ptr<FolderLock> lock_;
    Saver saver_;
    Health health_;
    // An update whose numbers have not been read yet.
    struct PendingReport {
        int64_t step = 0, result = 0;  // number of the update; what Optimizer::update returned
    };
    std::optional<PendingReport> pending_;
    int64_t step_ = 0, first_step_ = 0, validated_ = -1, restarts_ = 0;
    int64_t saved_ = -1, written_ = -1;  // the last checkpoint that was begun, and the last that was whole
    bool stop_ = false, save_ = false;   // some rank has got a signal; the first one wishes to save
    bool owes_save_ = false;             // a checkpoint was due while the model's loss was not finite
    bool alone_for_now_ = false;         // the others don't see the products of this moment
    Ceilings ceilings_;
    double flops_per_token_ = 0, start_time_ = 0, saved_time_ = 0;
};

// Prints an error, in one line; a debug build says where it was found.
int report(const Error& error) {
    std::cerr << "train_relora: " << error.what();
    if (kDebugBuild) std::cerr << " (" << error.file << ":" << error.line << ")";
    std::cerr << std::endl;
    return error.exit_code;
}

// The error of a library in words of its own; the standard library's name nothing where memory is gone.
Error as_error(const std::exception& error) {
    const bool no_memory = dynamic_cast<const std::bad_alloc*>(&error);
    return {no_memory ? "out of memory on the host, of which ulimit -v or a control group may leave less than there is"
                      : error.what(),
            __FILE__, __LINE__};
}

int train(Options& options, int threads, const Place& place) {
    const Meeting meeting{.shared_folder = options.out,
                          .agreement = place.size > 1 ? start_agreement(options) : "",
                          .patience = options.rank_patience,
                          .timeout = options.rank_timeout};
    const Ranks ranks(place, meeting, options.run_device);
    options.make_paths_absolute();  // ranks agree on what was given
    // What fails tells the other ranks before anything is given back that may wait for them; one rank prints it.
    const auto fail = [&](const Error& error) {
        return ranks.fail(error.what(), error.exit_code) ? report(error) : error.exit_code;
    };
    std::optional<Trainer> trainer;
    try {
        check_memory(options, place.local_size);
        trainer.emplace(options, threads, ranks);
        const int code = trainer->run();
        ranks.leave();
        return code;
    } catch (const PeerFailed& error) {
        return error.prints ? report(error) : error.exit_code;
    } catch (const signals::Stopped& stopped) {
        return fail({stopped.what(), __FILE__, __LINE__, 128 + stopped.signal});
    } catch (const OutOfMemory& error) {
        return fail(advised(error,
                            "; a smaller --batch-size or --seq-len, or --recompute pointwise or block, needs "
                            "less"));
    } catch (const DiskFull& error) {
        return fail(advised(error, "; free space and run again with --resume"));
    } catch (const Error& error) {
        return fail(error);
    } catch (const std::exception& error) {
        return fail(as_error(error));
    }
}

int run(int argc, char** argv) {
    const Place place = find_place();
    Options options;
    try {
        if (!options.parse(argc, argv)) return 0;
    } catch (const Error& error) {
        // All ranks have the same command line: one of them says what is wrong with it.
        return place.rank == 0 ? report(error) : error.exit_code;
    }
    if (options.gpus > 0 && place.starter.empty()) return start_ranks(int(options.gpus), argv);
    if (!options.verify.empty()) {
        const Verdict verdict = verify(options.verify);
        std::cout << verdict.lines;
        return verdict.all_whole ? 0 : 1;
    }
    if (options.export_dir.empty() && !options.only_plans()) signals::install();
    const int threads = options.take_place(place);
    if (!options.export_dir.empty()) {
        USAGE_CHECK(!options.init_from.empty(), "--export needs --init-from, the checkpoint to export");
        export_checkpoint(options.init_from, options.export_dir);
        std::cout << "wrote " << options.export_dir << "\n";
        return 0;
    }
    options.complete_from_files();
    options.resolve();
    if (options.print_schedule) {
        std::cout << RunSchedule(options).table();
        return 0;
    }
    if (options.dry_run) {
        if (options.chooses_routes() && kernels::device_problem(options.run_device).empty())
            options.lora.routes = known_routes(options, threads);
        std::cout << dry_run_report(options);
        return 0;
    }
    return train(options, threads, place);
}

}  // namespace

int main(int argc, char** argv) {
    prepare_descriptors();
    bound_spinning(argv);
    flush_denormals();
    try {
        return run(argc, argv);
    } catch (const PeerFailed& error) {
        return error.prints ? report(error) : error.exit_code;
    } catch (const signals::Stopped& stopped) {
        return report({stopped.what(), __FILE__, __LINE__, 128 + stopped.signal});
    } catch (const Error& error) {
        return report(error);
    } catch (const std::exception& error) {
        return report(as_error(error));
    }
}
