#!/bin/bash
# Ranks in two network namespaces find each other across an interface: at an address of either family, and by a file in a
# shared folder; and the one that is cut off is noticed. The ranks are a test of build/tests that takes its place from the
# environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/ranks/namespaces.bash
tests=${TESTS:-build/tests}
make_namespaces
folder=$(mktemp -d)
trap 'rm -rf "$folder"; remove_namespaces' EXIT

# ranks NAME VARIABLE=VALUE…: two ranks in each namespace, which all have to meet.
ranks() {
    local name=$1 rank pids=() said
    shift
    for rank in 3 2 1 0; do
        in_namespace $((rank / 2)) env "$@" RANK=$rank WORLD_SIZE=4 LOCAL_RANK=$((rank % 2)) LOCAL_WORLD_SIZE=2 "$tests" \
            --gtest_also_run_disabled_tests --gtest_filter=RankOfEnvironment.DISABLED_MeetsTheOthers \
            >"$folder/$name.$rank" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || { cat "$folder/$name".*; echo "FAILED: $name"; exit 1; }; done
    for rank in 0 1 2 3; do
        said=$(grep -h '^rank ' "$folder/$name.$rank")
        [[ $said == "rank $rank of 4 by RANK and WORLD_SIZE met 0@"*' 1@'*' 2@'*' 3@'* ]] ||
            { echo "FAILED: $name: rank $rank said '$said'"; exit 1; }
    done
    echo "$name: ok"
}

ranks address MASTER_ADDR="${addresses[0]}" MASTER_PORT=29500
if ip -n "${namespaces[0]}" address show dev veth0 | grep -q "${addresses_of_ipv6[0]}"; then
    ranks ipv6 MASTER_ADDR="${addresses_of_ipv6[0]}" MASTER_PORT=29500
else
    echo 'ipv6: not tried, there is none here'
fi
ranks shared_folder TEST_SHARED_FOLDER="$folder/shared"
[ -z "$(ls -A "$folder/shared")" ] || { echo 'FAILED: a file stays in the shared folder'; exit 1; }

# Without a way to rank 0, a rank says so.
if in_namespace 1 env RANK=1 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=10.99.0.1 MASTER_PORT=29500 \
    TEST_PATIENCE=1 "$tests" --gtest_also_run_disabled_tests \
    --gtest_filter=RankOfEnvironment.DISABLED_MeetsTheOthers >"$folder/nowhere" 2>&1; then
    echo 'FAILED: a rank met another where there is none'
    exit 1
fi
grep -q 'rank 1: rank 0 at 10.99.0.1:29500 did not answer within 1 s (10.99.0.1:29500: Network is unreachable)' \
    "$folder/nowhere" || { cat "$folder/nowhere"; exit 1; }
echo 'nowhere: ok'

# A cable that is pulled: rank 0 hears nothing more, and says so.
in_namespace 0 env RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR="${addresses[0]}" MASTER_PORT=29501 \
    TEST_SILENCE=3 TEST_STAYS=1 "$tests" --gtest_also_run_disabled_tests \
    --gtest_filter=RankOfEnvironment.DISABLED_MeetsTheOthers >"$folder/cut.0" 2>&1 &
rank_0=$!
in_namespace 1 env RANK=1 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR="${addresses[0]}" MASTER_PORT=29501 \
    TEST_SILENCE=3 TEST_STAYS=1 "$tests" --gtest_also_run_disabled_tests \
    --gtest_filter=RankOfEnvironment.DISABLED_MeetsTheOthers >"$folder/cut.1" 2>&1 &
rank_1=$!
for _ in $(seq 100); do grep -q '^rank 1' "$folder/cut.1" && break; sleep 0.1; done
ip -n "${namespaces[1]}" link set veth0 down
wait $rank_0 && { echo 'FAILED: rank 0 did not fail'; exit 1; }
wait $rank_1 && { echo 'FAILED: rank 1 did not fail'; exit 1; }
grep -q 'rank 1 has not been heard of for 3 s' "$folder/cut.0" || { cat "$folder/cut.0"; exit 1; }
grep -q 'rank 0 has not been heard of for 3 s' "$folder/cut.1" || { cat "$folder/cut.1"; exit 1; }
echo 'cut: ok'
