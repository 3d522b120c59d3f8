#include "runtime/ranks/place.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "runtime/error.h"
#include "runtime/ranks/socket.h"

namespace {

// Slurm numbers the steps that srun starts from 0 up; the shells of sbatch and salloc have numbers from here on.
constexpr long long kFirstShell = 0xfffffff0;

// The names of the variables by which a starter tells a process its place.
struct Names {
    const char *rank, *size, *local_rank, *local_size;
};
constexpr Names kOwn{"RELORA_RANK", "RELORA_RANKS", "RELORA_RANK", "RELORA_RANKS"};
constexpr Names kTorchrun{"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Names kOpenMpi{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                         "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names kPmi{"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"};

std::optional<long long> whole_number(std::string_view text) {
    long long value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return {};
    return value;
}

// Looks up the variables, and says what is wrong with them.
class Finder {
  public:
    explicit Finder(const std::function<const char*(const char*)>& variable) : variable_(variable) {}

    Place find() const {
        Place place;
        if (has(kOwn.rank) || has(kOwn.size))
            place = by_own_starter();
        else if (has(kTorchrun.rank))
            place = by_torchrun();
        else if (has(kOpenMpi.rank) || has(kOpenMpi.size))
            place = by_open_mpi();
        else if (is_step())
            place = by_slurm();
        else if (has(kPmi.rank) || has(kPmi.size))
            place = by_pmi();
        check_world_size(place);
        if (place.size > 1 && place.address.empty()) find_address(place);
        return place;
    }

  private:
    // ---- variables; one that is empty counts as not set

    std::string text(const char* name) const {
        const char* value = variable_(name);
        return value ? value : "";
    }
    bool has(const char* name) const { return !text(name).empty(); }
    std::optional<int> number(const char* name, int least, int most = 1 << 20) const {
        const std::string value = text(name);
        if (value.empty()) return {};
        const auto found = whole_number(value);
        USAGE_CHECK(found && *found >= least && *found <= most, name, " is ", value,
                    ", but should be a whole number from ", least, found && *found > most ? str(" to ", most) : " up");
        return int(*found);
    }
    int needed(const char* name, int least, const char* because) const {
        const auto value = number(name, least);
        USAGE_CHECK(value, because, " is ", text(because), ", but ", name, " is not set");
        return *value;
    }
    // The values that are set, with a point between them.
    std::string joined(std::initializer_list<const char*> names) const {
        std::string all;
        for (const char* name : names)
            if (has(name)) all += (all.empty() ? "" : ".") + text(name);
        return all;
    }

    // ---- starters

    // Rank and size, and among those of this machine both or none. Where these are missing, ranks that meet at a
    // loopback address are all on this machine, and any other rank is taken for the only one of its machine.
    Place by(const Names& names, const char* starter) const {
        Place place;
        place.starter = starter;
        place.size = needed(names.size, 1, names.rank);
        place.rank = needed(names.rank, 0, names.size);
        check_below(names.rank, place.rank, names.size, place.size);
        if (has(names.local_rank) || has(names.local_size)) {
            place.local_size = needed(names.local_size, 1, names.local_rank);
            place.local_rank = needed(names.local_rank, 0, names.local_size);
            check_below(names.local_rank, place.local_rank, names.local_size, place.local_size);
            USAGE_CHECK(place.local_size <= place.size, names.local_size, " is ", place.local_size, ", but ",
                        names.size, " only ", place.size);
        } else if (ranks::is_loopback(text("MASTER_ADDR"))) {
            place.local_rank = place.rank;
            place.local_size = place.size;
        }
        return place;
    }
    static void check_below(const char* name, int rank, const char* size_name, int size) {
        USAGE_CHECK(rank < size, name, " is ", rank, ", but has to be less than ", size_name, ", which is ", size);
    }

    Place by_own_starter() const {
        Place place = by(kOwn, kOwnStarter);
        place.nonce = text("RELORA_NONCE");
        place.address = "127.0.0.1";
        place.port = needed("RELORA_PORT", 1, kOwn.rank);
        place.listener = number("RELORA_LISTENER", 0).value_or(-1);
        return place;
    }

    Place by_torchrun() const {
        const bool elastic = has("TORCHELASTIC_RUN_ID");
        Place place = by(kTorchrun, elastic ? "torchrun" : "RANK and WORLD_SIZE");
        if (elastic) {
            place.nonce = joined({"TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"});
        } else if (has(kOpenMpi.rank)) {
            // A torchrun on each machine may itself be started by mpirun; by hand the two must agree.
            const Place mpi = by_open_mpi();
            USAGE_CHECK(mpi.rank == place.rank && mpi.size == place.size, "RANK of WORLD_SIZE is ", place.rank, " of ",
                        place.size, ", but mpirun says ", mpi.rank, " of ", mpi.size,
                        "; unset RANK and WORLD_SIZE to let mpirun say it");
            place.nonce = mpi.nonce;
        } else if (is_step()) {
            place.nonce = by_slurm().nonce;
        }
        return place;
    }

    Place by_open_mpi() const {
        Place place = by(kOpenMpi, "mpirun");
        place.nonce = joined({has("PMIX_NAMESPACE") ? "PMIX_NAMESPACE" : "OMPI_MCA_ess_base_jobid"});
        return place;
    }

    Place by_pmi() const {
        Place place = by(kPmi, "MPICH's mpiexec");
        place.nonce = joined({"PMI_JOBID", "PMI_KVS", "PMI_PORT"});
        return place;
    }

    // Whether Slurm has started this process as one task of several. An mpiexec that uses srun to reach the machines
    // hands on variables that are not about its own ranks, so PMI's count where the two differ.
    bool is_step() const {
        const auto step = whole_number(text("SLURM_STEP_ID"));
        if (!step || *step < 0 || *step >= kFirstShell || tasks() < 2) return false;
        return !has(kPmi.rank) || (text(kPmi.rank) == text("SLURM_PROCID") && text(kPmi.size) == str(tasks()));
    }
    const char* tasks_name() const { return has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS"; }
    int tasks() const { return number(tasks_name(), 1).value_or(1); }

    Place by_slurm() const {
        Place place;
        place.starter = "srun";
        place.size = tasks();
        place.rank = needed("SLURM_PROCID", 0, tasks_name());
        check_below("SLURM_PROCID", place.rank, tasks_name(), place.size);
        place.local_rank = needed("SLURM_LOCALID", 0, "SLURM_PROCID");
        place.local_size = tasks_here();
        USAGE_CHECK(place.local_rank < place.local_size, "SLURM_LOCALID is ", place.local_rank, ", but there are ",
                    place.local_size, " tasks on this node");
        place.nonce = joined({"SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"});
        return place;
    }

    // How many tasks of this step are on this node: from a list as "4(x2),3", which means 4 on each of the first two.
    int tasks_here() const {
        const char* const name =
            has("SLURM_STEP_TASKS_PER_NODE") ? "SLURM_STEP_TASKS_PER_NODE" : "SLURM_TASKS_PER_NODE";
        const std::string all = text(name);
        if (all.empty()) return needed("SLURM_NTASKS_PER_NODE", 1, tasks_name());
        long long node = number("SLURM_NODEID", 0).value_or(0);
        for (std::string_view rest = all; !rest.empty();) {
            const size_t comma = std::min(rest.find(','), rest.size());
            std::string_view entry = rest.substr(0, comma);
            rest.remove_prefix(std::min(comma + 1, rest.size()));
            long long repeated = 1;
            if (const size_t open = entry.find("(x"); open != entry.npos && entry.ends_with(')')) {
                repeated = whole_number(entry.substr(open + 2, entry.size() - open - 3)).value_or(0);
                entry = entry.substr(0, open);
            }
            const long long count = whole_number(entry).value_or(0);
            if (count < 1 || count > 1 << 20 || repeated < 1) break;
            if (node < repeated) return int(count);
            node -= repeated;
        }
        USAGE_FAIL(name, " is ", all, ", which says nothing about node ", number("SLURM_NODEID", 0).value_or(0));
    }

    // ---- what holds for every starter

    // Job scripts often set WORLD_SIZE alone: it has to be right then.
    void check_world_size(const Place& place) const {
        if (has(kTorchrun.rank) || place.starter == kOwnStarter) return;
        const auto size = number(kTorchrun.size, 1);
        if (!size || *size == place.size) return;
        USAGE_CHECK(!place.starter.empty(), "WORLD_SIZE is ", *size, ", but RANK is not set");
        USAGE_FAIL("WORLD_SIZE is ", *size, ", but ", place.starter, " has started ", place.size,
                   place.size == 1 ? " process" : " processes");
    }

    void find_address(Place& place) const {
        place.address = text("MASTER_ADDR");
        const auto port = number("MASTER_PORT", 1, 65535);
        USAGE_CHECK(!port || !place.address.empty(), "MASTER_PORT is ", *port,
                    ", but MASTER_ADDR, the machine of rank 0, is not set");
        if (place.address.empty()) return;
        USAGE_CHECK(port, "MASTER_ADDR is ", place.address,
                    ", but MASTER_PORT, a free port of that machine, is not set");
        // torchrun's agent itself listens on its port; the next one is for its processes.
        place.port = *port + (text("TORCHELASTIC_USE_AGENT_STORE") == "True" ? 1 : 0);
        USAGE_CHECK(place.port <= 65535, "MASTER_PORT is ", *port, ", but the next port is needed, too");
    }

    const std::function<const char*(const char*)>& variable_;
};

}  // namespace

Place find_place(const std::function<const char*(const char*)>& variable) { return Finder(variable).find(); }

Place find_place() {
    return find_place([](const char* name) -> const char* { return std::getenv(name); });
}
