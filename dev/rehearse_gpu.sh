#!/bin/bash
# Rehearses a visit to a machine with a GPU where there is none: a bare Debian 13 with a compiler, make, python3 and xz, none of
# this project's packages, no driver, no network and no root. What has to work there is tried in this order:
#   bundle    the bundle (make bundle): programs start, train on the CPU, and say in a line that there is no GPU
#   check     dev/gpu_check.sh first and second at small sizes, with the CUDA half executed on the CPU, and stand-ins for
#             nvidia-smi and compute-sanitizer, which are not to be had without a GPU; all pass but PyTorch, which isn't there
#   deps      make DEPS=FOLDER with unpacked packages, and what it built
#
#   dev/rehearse_gpu.sh [STAGE…]      as root, on Debian; about a quarter of an hour on two cores
#   REHEARSAL_FOLDER=/var/tmp/train_relora-rehearsal    where the bare system is kept
#   ARCHS=90              GPU architectures of the bundle
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${REHEARSAL_FOLDER:-/var/tmp/train_relora-rehearsal}
base=$folder/system run=$folder/run
fail() { echo "rehearse_gpu.sh: $*" >&2; exit 1; }
heading() { printf '\n== %s\n' "$*"; }
case ${1:-} in -h | --help) sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac
stages=("$@")
[ $# -gt 0 ] || stages=(bundle check deps)
for stage in "${stages[@]}"; do
    case $stage in bundle | check | deps) ;; *) fail "no stage '$stage'; there are bundle, check and deps" ;; esac
done
[ "$(id -u)" -eq 0 ] || fail 'needs root, for chroot'
if [ -z "${REHEARSAL_NAMESPACE:-}" ]; then  # so that all mounts go when this ends, and there is no network
    command -v debootstrap >/dev/null || fail 'needs debootstrap: apt-get install debootstrap'
    command -v nvcc >/dev/null || fail 'needs nvcc: it comes with the CUDA toolkit'
    scripts/setup.sh --tests
    if [ ! -e "$folder/complete" ]; then
        heading 'a bare Debian 13'
        rm -rf "$folder"
        mkdir -p "$folder"
        mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
            sed -nE '/^(URIs:|deb) /{s/^(URIs:|deb( *\[[^]]*\])?) *([^ ]*).*/\3/p;q}' || true)
        debootstrap --variant=minbase --include=g++,make,python3,xz-utils trixie "$base" ${mirror:+"$mirror"} >"$folder/log" ||
            fail "debootstrap failed: $(tail -n 1 "$folder/log")"
        touch "$folder/complete"
    fi
    heading 'programs to take along'
    mkdir -p build
    for stage in "${stages[@]}"; do
        case $stage in bundle) target=bundle ;; check) target=bundle-on-cpu ;; *) continue ;; esac
        make -j"$(nproc)" ARCHS="${ARCHS:-90}" "$target" >build/rehearsal_make.log 2>&1 ||
            { grep -E -A6 'error|Error|bundle.sh' build/rehearsal_make.log | head -n 40 >&2; fail "make $target failed"; }
        tail -n 1 build/rehearsal_make.log
    done
    export REHEARSAL_NAMESPACE=1
    exec unshare --mount --net --propagation private -- bash "$0" "$@"
fi
mkdir -p "$run"
mount -t tmpfs -o size=4g rehearsal "$run"
cp -a "$base/." "$run/"
mount -t proc proc "$run/proc"
mount --rbind /dev "$run/dev"
install -d -o 65534 -g 65534 "$run/home/guest"
# A machine with a GPU has a toolkit.
mkdir -p "$run/usr/local/cuda"
mount --bind -o ro "$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")" "$run/usr/local/cuda"
# guest COMMAND: in the bare system, as a user without rights, at home. `refuses` there runs what has to fail with one line.
# shellcheck disable=SC2016  # for the other shell
refuses='refuses() { if "$@" >said 2>&1; then echo "this should have failed: $*"; exit 1; fi; cat said; [ "$(wc -l <said)" -eq 1 ]; }'
guest() {
    chroot --userspec=65534:65534 "$run" /usr/bin/env -i HOME=/home/guest LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin \
        OMP_WAIT_POLICY=passive bash -euo pipefail -c "$refuses; cd ~; $1"
}
unpack() {
    rm -rf "$run/home/guest/train_relora-bundle"
    guest 'tar -xJf -' <"$1"
}

stage_bundle() {
    unpack build/train_relora-bundle.tar.xz
    # shellcheck disable=SC2016  # for the other shell
    guest 'cd train_relora-bundle; cat COMMIT
        ./train_relora --version
        data/tokenize --help >help; build/kernel_tests --gtest_list_tests | tail -n 1
        build/kernel_bench --device cpu --small --filter gelu_forward/fp32_67x24 --repeats 3 --flush-mib 1 --threads 2 | tail -n 1
        . scripts/recipe.bash
        ./train_relora --device cpu "${data[@]}" "${shape[@]}" --rank 4 --max-steps 6 --warm-start-steps 3 --merge-every 3 \
            --restart-warmup-steps 0 --warmup-steps 0 --lr 1e-3 --out ~/run --threads 2 | grep -a "merge 1"
        python3 dev/bench/compare.py --model gpt2-nano --batch-size 1 --seq-len 32 --rounds 1 --dtypes fp32 >compared 2>&1
        refuses ./train_relora --device cuda "${data[@]}" "${shape[@]}" --mode full --out ~/cuda
        refuses dev/gpu_check.sh first'
}

stage_check() {
    unpack build/train_relora-on-cpu.tar.xz
    mkdir -p "$run/usr/local/nvidia/bin" "$run/usr/local/bin"
    cat >"$run/usr/local/nvidia/bin/nvidia-smi" <<'EOF'
#!/bin/bash
case $* in *=name*) echo 'a stand-in' ;; *=driver*) echo 0.0 ;; *=memory*) echo '0 MiB' ;; *=compute*) echo 9.0 ;; esac
EOF
    cat >"$run/usr/local/bin/compute-sanitizer" <<'EOF'
#!/bin/bash
while [ ! -x "$1" ]; do shift; done
exec "$@"
EOF
    chmod +x "$run/usr/local/nvidia/bin/nvidia-smi" "$run/usr/local/bin/compute-sanitizer"
    local check='cd train_relora-bundle; EXECUTOR_GUARD=0 REHEARSAL=1 LIMIT=900 OUT=~/out dev/gpu_check.sh'
    guest "$check first"
    guest "if $check second; then exit 1; fi" | tee "$run/second"
    [ "$(grep '^-- .*FAIL' "$run/second")" = "-- pytorch: FAIL (0 s)" ]
    ls -l "$run/home/guest/out"
}

stage_deps() {
    local packages libraries
    packages=$(sed -n "/^needs=/,/^test_needs=/p" scripts/setup.sh | sed "s/^needs='//" | awk '$1 ~ /^(lib|zlib|ocl|nlohmann)/ { print $1 }')
    # shellcheck disable=SC2086  # words
    libraries=$(dpkg-query -W -f '${Depends}, ' $packages | tr ',|' '\n' | awk '$1 ~ /^(lib|zlib)/ && $1 !~ /^lib(c6|c-dev|gcc|stdc)/ { print $1 }')
    mkdir -p "$run/deps"
    # shellcheck disable=SC2086
    dpkg -L $packages $libraries | sort -u | while read -r file; do
        [ -d "$file" ] || echo "${file#/}"
    done | tar -C / -cf - -T - | tar -C "$run/deps" -xf -
    git archive --prefix=project/ HEAD | guest 'tar -xf -'
    guest "cd project; make -j$(nproc) DEPS=/deps NVCC=/usr/local/cuda/bin/nvcc ARCHS='${ARCHS:-90}' >made 2>&1 || { tail -n 30 made; exit 1; }
        if grep 'warning:' made; then exit 1; fi
        ./train_relora --version; data/tokenize --out shards --val-fraction 0.1 README.md dev/DESIGN.md >said
        ./train_relora --device cpu --train-data 'shards/train_*.bin' --layers 1 --heads 1 --channels 32 --seq-len 32 --batch-size 2 \
            --mode full --max-steps 2 --out run --threads 2 | grep -a '^step 2'"
}

trap '[ $? -eq 0 ] || echo "rehearse_gpu.sh: $stage failed" >&2' EXIT
for stage in "${stages[@]}"; do
    heading "$stage"
    began=$SECONDS
    "stage_$stage"
    echo "-- $stage: $((SECONDS - began)) s"
done
