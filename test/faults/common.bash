# Most tests of faults train the smallest model on one thread, for hundreds of updates a second.
# shellcheck shell=bash disable=SC2034  # the scripts that source this use the variables
source "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/common.bash"
shape=(--layers 1 --heads 2 --channels 32 --seq-len 32 --batch-size 4)
quiet=(--sample-tokens 0 --threads 1)
