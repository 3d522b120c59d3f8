#!/bin/bash
# Several GPUs, executed on the CPU by NCCL's stand-in: the numbers of one, as on CPUs by MPI.
RANKS_ON=cuda exec bash "$(dirname "$0")/../ranks/numbers.sh"
