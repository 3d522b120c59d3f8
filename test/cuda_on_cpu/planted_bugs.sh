#!/bin/bash
# The executor must catch every planted bug in the modes that it claims to catch it in.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/cuda_on_cpu/common.bash
bash dev/cuda_on_cpu/planted_bugs.sh
