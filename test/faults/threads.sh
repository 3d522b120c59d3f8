#!/bin/bash
# Threads: how many a run takes, what it says where they are too many or can't start, and that a resume keeps their number.
# shellcheck source=test/end_to_end/common.bash
source "$(dirname "$0")/../end_to_end/common.bash"

unset OMP_NUM_THREADS
make_shards
quiet=(--sample-tokens 0)
short=(--mode full --max-steps 2)

# threads_of NAME: what the run said.
threads_of() { grep -oE '[0-9]+ threads' "$work/$1.log" | head -n 1; }
expect_threads() {
    local found
    found=$(threads_of "$1")
    [ "$found" = "$2 threads" ] || differs "$1: '$found', not $2 threads: $(tail -n 1 "$work/$1.log")"
}

first=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')

OMP_NUM_THREADS=1 must_train one "${short[@]}"
expect_threads one 1
OMP_NUM_THREADS=1 must_train more "${short[@]}" --threads 2
expect_threads more 2

# One processor by affinity: the default is one thread, and more are warned of in one line.
(
    taskset -cp "$first" $BASHPID >"$work/taskset.log"
    must_train bound "${short[@]}"
    must_train above "${short[@]}" --threads 3
) || differs 'a run on one processor failed'
expect_threads bound 1
expect_threads above 3
grep -q -- '--threads 3 is more than 1, .*\(affinity\|has 1 processor$\)' "$work/above.log" ||
    differs "no warning of three threads on one processor: $(head -n 3 "$work/above.log")"
! grep -q 'is more than' "$work/bound.log" || differs 'a warning of the default'

# A resume goes on with the number that the run was begun with, wherever that came from.
OMP_NUM_THREADS=1 must_train resumed --mode full --max-steps 4 --save-every 2
rm -r "$work/resumed/step_00000004" "$work/resumed/export"
must_train resumed --mode full --max-steps 4 --save-every 2 --resume
expect_threads resumed 1
grep -q '^threads = 1$' "$work/resumed/config.toml" || differs 'the number of threads is not in config.toml'

# Threads that can't start: one line with what limits them, and nothing begun.
code=0
(ulimit -v 1500000 && train "$work/limited" "${short[@]}" --threads 1024) || code=$?
[ "$code" -eq 1 ] || differs "1024 threads in 1.5 GB: exit code $code"
[ "$(grep -cv 'is more than' "$work/limited.log")" -eq 1 ] || differs "1024 threads in 1.5 GB: $(cat "$work/limited.log")"
grep -q 'of 1024 threads could be started.*ulimit.*fewer --threads' "$work/limited.log" ||
    differs "1024 threads in 1.5 GB: $(tail -n 1 "$work/limited.log")"
[ ! -e "$work/limited" ] || differs 'a run without threads began a folder'

# Waiting threads sleep soon, unless the environment says otherwise.
unset OMP_WAIT_POLICY GOMP_SPINCOUNT
# spins NAME: the bound in the environment of a run of the trainer.
spins() {
    OMP_DISPLAY_ENV=verbose must_train "$1" "${short[@]}"
    grep -oE "GOMP_SPINCOUNT = '[0-9]+'" "$work/$1.log" | tail -n 1
}
own=$(spins own)
[ "$own" = "GOMP_SPINCOUNT = '10000'" ] || differs "by default: $own"
given=$(GOMP_SPINCOUNT=77 spins given)
[ "$given" = "GOMP_SPINCOUNT = '77'" ] || differs "GOMP_SPINCOUNT=77 became $given"
passive=$(OMP_WAIT_POLICY=passive spins passive)
[ "$passive" = "GOMP_SPINCOUNT = '0'" ] || differs "OMP_WAIT_POLICY=passive became $passive"

finish
