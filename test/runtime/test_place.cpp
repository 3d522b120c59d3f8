// Where a process finds its place among the ranks: variables as each starter sets them, and such as no starter should.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "runtime/ranks/place.h"
#include "test/error_of.h"

namespace {

using Variables = std::map<std::string, std::string>;

Place place_from(const Variables& variables) {
    return find_place([&](const char* name) -> const char* {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
    });
}

std::string text(const Place& place) {
    std::string text = std::to_string(place.rank) + "/" + std::to_string(place.size) + " here " +
                       std::to_string(place.local_rank) + "/" + std::to_string(place.local_size) + " by '" +
                       place.starter + "' nonce '" + place.nonce + "'";
    if (!place.address.empty()) text += " at " + place.address + ":" + std::to_string(place.port);
    if (place.listener >= 0) text += " listener " + std::to_string(place.listener);
    return text;
}

struct Case {
    const char* name;
    Variables variables;
    const char* expected;  // the place as text, or the error
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

// Adds to variables, or replaces some.
Variables with(Variables variables, const Variables& more) {
    for (const auto& [name, value] : more) variables[name] = value;
    return variables;
}

const Variables kTorchrun{{"RANK", "5"},
                          {"WORLD_SIZE", "8"},
                          {"LOCAL_RANK", "1"},
                          {"LOCAL_WORLD_SIZE", "4"},
                          {"MASTER_ADDR", "node0"},
                          {"MASTER_PORT", "29500"},
                          {"TORCHELASTIC_RUN_ID", "run"},
                          {"TORCHELASTIC_RESTART_COUNT", "2"}};
const Variables kOpenMpi{{"OMPI_COMM_WORLD_RANK", "1"},
                         {"OMPI_COMM_WORLD_SIZE", "2"},
                         {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                         {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                         {"PMIX_NAMESPACE", "prterun-node0-7@1"}};
const Variables kPmi{
    {"PMI_RANK", "3"}, {"PMI_SIZE", "4"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}, {"PMI_JOBID", "j"}};
const Variables kSlurm{{"SLURM_JOB_ID", "77"},         {"SLURM_STEP_ID", "3"},
                       {"SLURM_PROCID", "9"},          {"SLURM_NTASKS", "11"},
                       {"SLURM_STEP_NUM_TASKS", "11"}, {"SLURM_LOCALID", "1"},
                       {"SLURM_NODEID", "2"},          {"SLURM_STEP_TASKS_PER_NODE", "4(x2),3"}};
const Variables kByHand{{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "10.0.0.1"}, {"MASTER_PORT", "4000"}};

const Case kCases[] = {
    {"alone", {}, "0/1 here 0/1 by '' nonce ''"},
    {"empty", {{"RANK", ""}, {"SLURM_STEP_ID", ""}}, "0/1 here 0/1 by '' nonce ''"},
    {"address_alone", {{"MASTER_ADDR", "x"}}, "0/1 here 0/1 by '' nonce ''"},

    {"own_rank_0",
     {{"RELORA_RANK", "0"},
      {"RELORA_RANKS", "2"},
      {"RELORA_NONCE", "n"},
      {"RELORA_PORT", "5"},
      {"RELORA_LISTENER", "7"}},
     "0/2 here 0/2 by 'this program' nonce 'n' at 127.0.0.1:5 listener 7"},
    {"own_before_all_others",
     with(with(kTorchrun, kOpenMpi), {{"RELORA_RANK", "1"}, {"RELORA_RANKS", "2"}, {"RELORA_PORT", "5"}}),
     "1/2 here 1/2 by 'this program' nonce '' at 127.0.0.1:5"},
    {"own_incomplete", {{"RELORA_RANK", "1"}}, "RELORA_RANK is 1, but RELORA_RANKS is not set"},
    {"own_without_port", {{"RELORA_RANK", "1"}, {"RELORA_RANKS", "2"}}, "RELORA_RANK is 1, but RELORA_PORT is not set"},

    {"torchrun", kTorchrun, "5/8 here 1/4 by 'torchrun' nonce 'run.2' at node0:29500"},
    {"torchrun_agent_listens", with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}}),
     "5/8 here 1/4 by 'torchrun' nonce 'run.2' at node0:29501"},
    {"torchrun_agent_does_not", with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}}),
     "5/8 here 1/4 by 'torchrun' nonce 'run.2' at node0:29500"},
    {"torchrun_last_port", with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"MASTER_PORT", "65535"}}),
     "MASTER_PORT is 65535, but the next port is needed, too"},
    {"torchrun_by_mpirun", with(kOpenMpi, kTorchrun), "5/8 here 1/4 by 'torchrun' nonce 'run.2' at node0:29500"},
    {"torchrun_of_one",
     {{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"MASTER_ADDR", "a"}},
     "0/1 here 0/1 by 'RANK and WORLD_SIZE' nonce ''"},

    {"by_hand", kByHand, "1/2 here 0/1 by 'RANK and WORLD_SIZE' nonce '' at 10.0.0.1:4000"},
    {"by_hand_on_one_machine", with(kByHand, {{"MASTER_ADDR", "localhost"}}),
     "1/2 here 1/2 by 'RANK and WORLD_SIZE' nonce '' at localhost:4000"},
    {"by_hand_without_address", {{"RANK", "1"}, {"WORLD_SIZE", "2"}}, "1/2 here 0/1 by 'RANK and WORLD_SIZE' nonce ''"},
    {"by_hand_in_mpirun", with(kOpenMpi, {{"RANK", "1"}, {"WORLD_SIZE", "2"}}),
     "1/2 here 0/1 by 'RANK and WORLD_SIZE' nonce 'prterun-node0-7@1'"},
    {"by_hand_in_srun",
     with(kSlurm, {{"RANK", "9"}, {"WORLD_SIZE", "11"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "3"}}),
     "9/11 here 1/3 by 'RANK and WORLD_SIZE' nonce '77.3'"},
    {"by_hand_against_mpirun", with(kOpenMpi, {{"RANK", "0"}, {"WORLD_SIZE", "2"}}),
     "RANK of WORLD_SIZE is 0 of 2, but mpirun says 1 of 2; unset RANK and WORLD_SIZE to let mpirun say it"},
    {"rank_without_size", {{"RANK", "1"}}, "RANK is 1, but WORLD_SIZE is not set"},
    {"size_without_rank", {{"WORLD_SIZE", "2"}}, "WORLD_SIZE is 2, but RANK is not set"},
    {"size_1_without_rank", {{"WORLD_SIZE", "1"}}, "0/1 here 0/1 by '' nonce ''"},
    {"rank_is_size", with(kByHand, {{"RANK", "2"}}), "RANK is 2, but has to be less than WORLD_SIZE, which is 2"},
    {"negative", with(kByHand, {{"RANK", "-1"}}), "RANK is -1, but should be a whole number from 0 up"},
    {"not_all_digits", with(kByHand, {{"RANK", "12abc"}}), "RANK is 12abc, but should be a whole number from 0 up"},
    {"no_number", with(kByHand, {{"WORLD_SIZE", "two"}}), "WORLD_SIZE is two, but should be a whole number from 1 up"},
    {"a_space", with(kByHand, {{"RANK", " 1"}}), "RANK is  1, but should be a whole number from 0 up"},
    {"fraction", with(kByHand, {{"WORLD_SIZE", "2.0"}}), "WORLD_SIZE is 2.0, but should be a whole number from 1 up"},
    {"beyond_int", with(kByHand, {{"WORLD_SIZE", "4294967298"}}),
     "WORLD_SIZE is 4294967298, but should be a whole number from 1 to 1048576"},
    {"beyond_all", with(kByHand, {{"WORLD_SIZE", "99999999999999999999"}}),
     "WORLD_SIZE is 99999999999999999999, but should be a whole number from 1 up"},
    {"no_ranks", with(kByHand, {{"WORLD_SIZE", "0"}}), "WORLD_SIZE is 0, but should be a whole number from 1 up"},
    {"local_size_without_rank", with(kByHand, {{"LOCAL_WORLD_SIZE", "1"}}),
     "LOCAL_WORLD_SIZE is 1, but LOCAL_RANK is not set"},
    {"local_rank_beyond_size", with(kByHand, {{"LOCAL_RANK", "2"}}),
     "LOCAL_RANK is 2, but has to be less than WORLD_SIZE, which is 2"},
    {"local_rank_is_size", with(kByHand, {{"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "1"}}),
     "LOCAL_RANK is 1, but has to be less than LOCAL_WORLD_SIZE, which is 1"},
    {"local_size_above_size", with(kByHand, {{"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "3"}}),
     "LOCAL_WORLD_SIZE is 3, but WORLD_SIZE only 2"},
    {"port_without_address",
     {{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "4000"}},
     "MASTER_PORT is 4000, but MASTER_ADDR, the machine of rank 0, is not set"},
    {"address_without_port",
     {{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}},
     "MASTER_ADDR is h, but MASTER_PORT, a free port of that machine, is not set"},
    {"port_too_large", with(kByHand, {{"MASTER_PORT", "65536"}}),
     "MASTER_PORT is 65536, but should be a whole number from 1 to 65535"},
    {"port_0", with(kByHand, {{"MASTER_PORT", "0"}}), "MASTER_PORT is 0, but should be a whole number from 1 up"},

    {"open_mpi", kOpenMpi, "1/2 here 1/2 by 'mpirun' nonce 'prterun-node0-7@1'"},
    {"open_mpi_4", with(kOpenMpi, {{"PMIX_NAMESPACE", ""}, {"OMPI_MCA_ess_base_jobid", "99"}}),
     "1/2 here 1/2 by 'mpirun' nonce '99'"},
    {"open_mpi_with_address", with(kOpenMpi, {{"MASTER_ADDR", "::1"}, {"MASTER_PORT", "1"}}),
     "1/2 here 1/2 by 'mpirun' nonce 'prterun-node0-7@1' at ::1:1"},
    {"open_mpi_in_slurm", with(kSlurm, kOpenMpi), "1/2 here 1/2 by 'mpirun' nonce 'prterun-node0-7@1'"},
    {"open_mpi_without_size",
     {{"OMPI_COMM_WORLD_RANK", "1"}},
     "OMPI_COMM_WORLD_RANK is 1, but OMPI_COMM_WORLD_SIZE is not set"},
    {"open_mpi_with_wrong_world", with(kOpenMpi, {{"WORLD_SIZE", "4"}}),
     "WORLD_SIZE is 4, but mpirun has started 2 processes"},

    {"pmi", kPmi, "3/4 here 1/2 by 'MPICH's mpiexec' nonce 'j'"},
    {"pmi_without_rank", {{"PMI_SIZE", "4"}}, "PMI_SIZE is 4, but PMI_RANK is not set"},
    {"pmi_in_slurm",  // mpiexec has reached the machines by srun, whose variables are about its own helpers
     with(with(kSlurm, kPmi), {{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "2"}}),
     "3/4 here 1/2 by 'MPICH's mpiexec' nonce 'j'"},

    {"slurm", kSlurm, "9/11 here 1/3 by 'srun' nonce '77.3'"},
    {"slurm_first_node", with(kSlurm, {{"SLURM_NODEID", "1"}, {"SLURM_PROCID", "7"}, {"SLURM_LOCALID", "3"}}),
     "7/11 here 3/4 by 'srun' nonce '77.3'"},
    {"slurm_restarted", with(kSlurm, {{"SLURM_RESTART_COUNT", "1"}}), "9/11 here 1/3 by 'srun' nonce '77.3.1'"},
    {"slurm_with_pmi2", with(kSlurm, {{"PMI_RANK", "9"}, {"PMI_SIZE", "11"}}), "9/11 here 1/3 by 'srun' nonce '77.3'"},
    {"slurm_with_address", with(kSlurm, {{"MASTER_ADDR", "n1"}, {"MASTER_PORT", "29500"}, {"WORLD_SIZE", "11"}}),
     "9/11 here 1/3 by 'srun' nonce '77.3' at n1:29500"},
    {"slurm_with_wrong_world", with(kSlurm, {{"WORLD_SIZE", "8"}}),
     "WORLD_SIZE is 8, but srun has started 11 processes"},
    {"slurm_batch_script",
     {{"SLURM_JOB_ID", "77"}, {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}},
     "0/1 here 0/1 by '' nonce ''"},
    {"slurm_batch_script_with_number", with(kSlurm, {{"SLURM_STEP_ID", "4294967291"}, {"SLURM_STEP_NUM_TASKS", ""}}),
     "0/1 here 0/1 by '' nonce ''"},
    {"slurm_interactive_step", with(kSlurm, {{"SLURM_STEP_ID", "4294967290"}, {"SLURM_STEP_NUM_TASKS", "1"}}),
     "0/1 here 0/1 by '' nonce ''"},
    {"slurm_shell_by_srun", with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "1"}}), "0/1 here 0/1 by '' nonce ''"},
    {"slurm_salloc_shell", {{"SLURM_JOB_ID", "77"}, {"SLURM_NTASKS", "8"}}, "0/1 here 0/1 by '' nonce ''"},
    {"slurm_without_rank", with(kSlurm, {{"SLURM_PROCID", ""}}),
     "SLURM_STEP_NUM_TASKS is 11, but SLURM_PROCID is not set"},
    {"slurm_rank_is_size", with(kSlurm, {{"SLURM_PROCID", "11"}}),
     "SLURM_PROCID is 11, but has to be less than SLURM_STEP_NUM_TASKS, which is 11"},
    {"slurm_without_local_rank", with(kSlurm, {{"SLURM_LOCALID", ""}}),
     "SLURM_PROCID is 9, but SLURM_LOCALID is not set"},
    {"slurm_local_rank_is_size", with(kSlurm, {{"SLURM_LOCALID", "3"}}),
     "SLURM_LOCALID is 3, but there are 3 tasks on this node"},
    {"slurm_no_such_node", with(kSlurm, {{"SLURM_NODEID", "3"}}),
     "SLURM_STEP_TASKS_PER_NODE is 4(x2),3, which says nothing about node 3"},
    {"slurm_bad_list", with(kSlurm, {{"SLURM_STEP_TASKS_PER_NODE", "4(x2,3"}}),
     "SLURM_STEP_TASKS_PER_NODE is 4(x2,3, which says nothing about node 2"},
};

}  // namespace

class PlaceOf : public testing::TestWithParam<Case> {};

TEST_P(PlaceOf, Variables) {
    std::string found;
    const std::string error = error_of([&] { found = text(place_from(GetParam().variables)); });
    EXPECT_EQ(found.empty() ? error : found, GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Starters, PlaceOf, testing::ValuesIn(kCases),
                         [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

TEST(Place, MistakesAreUsageErrors) {
    try {
        place_from({{"RANK", "1"}});
        ADD_FAILURE() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code, 2);
    }
}
