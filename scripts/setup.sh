#!/bin/bash
# Installs what the build needs from the Debian or Ubuntu archive, and nothing when everything is there.
#   scripts/setup.sh [--tests] [--lint]     --tests: also what the tests need; --lint: also what scripts/lint.sh needs
# Set DEPS=PREFIX for headers and libraries that are unpacked under a prefix instead of installed.
set -euo pipefail

# package | how to see that it is there: `compiler`, `command`, `file`, or `header library` | why
needs='g++                 | compiler                                   | the C++ compiler
make                | command make                               | runs the build
libdnnl-dev         | dnnl.hpp dnnl                              | oneDNN: matrix products
libcli11-dev        | CLI/CLI.hpp c                              | CLI11: command line
libtomlplusplus-dev | toml++/toml.h c                            | toml++: config files
nlohmann-json3-dev  | nlohmann/json.hpp c                        | JSON: checkpoints and metrics
ocl-icd-libopencl1  | c :libOpenCL.so.1                          | the OpenCL loader: oneDNN is linked with it
zlib1g-dev          | zlib.h z                                   | zlib: unpacks the Jane Austen text
libssl-dev          | openssl/evp.h crypto                       | OpenSSL: hashes of checkpoints and vocabularies
ca-certificates     | file /etc/ssl/certs/ca-certificates.crt    | certificates, to download over https'
test_needs='
libgtest-dev        | gtest/gtest.h gtest                        | GoogleTest: the tests
libboost-context-dev | boost/context/fiber.hpp boost_context      | Boost.Context: CUDA threads on the CPU, in the tests
liblapack-dev       | c lapack                                   | LAPACK: singular values, in the tests
libopenmpi-dev      | command mpicc                              | Open MPI: several processes on CPUs, in the tests
openmpi-bin         | command mpirun                             | mpirun: starts them
procps              | command pgrep                              | pgrep: finds the processes that tests disturb
python3             | command python3                            | Python: compares runs with recorded ones, in the tests'
lint_needs='
clang-format        | command clang-format                       | clang-format: how the sources are laid out
clang-tidy          | command clang-tidy                         | clang-tidy: likely mistakes in C++
libomp-dev          | file /usr/lib/llvm-14/lib/clang/14.0.6/include/omp.h | the OpenMP header of clang, for clang-tidy
cppcheck            | command cppcheck                           | cppcheck: likely mistakes in C++
shellcheck          | command shellcheck                         | shellcheck: likely mistakes in shell scripts
python3             | command python3                            | Python: its syntax is checked'

for option in "$@"; do
    case $option in
        --tests) needs+=$test_needs ;;
        --lint) needs+=$lint_needs ;;
        *) echo "setup.sh: unknown argument '$option': use --tests, --lint or nothing" >&2; exit 2 ;;
    esac
done

# Does the compiler find header $1 and the linker library $2? ("c" stands for: none needed)
compiles_with() {
    local flags=() source='int main() {}'
    [ -z "${DEPS:-}" ] || flags=(-I"$DEPS/usr/include" -I"$DEPS/include" -L"$DEPS/usr/lib" -L"$DEPS/lib"
                                 "-L$DEPS/usr/lib/$(uname -m)-linux-gnu"{,/lapack,/blas} "-Wl,--allow-shlib-undefined")
    [ "$1" = c ] || source=$(printf '#if !__has_include(<%s>)\n#error\n#endif\nint main() {}' "$1")
    # shellcheck disable=SC2086  # CXX may hold a wrapper, e.g. "ccache g++"
    printf '%s\n' "$source" | ${CXX:-g++} -std=c++17 -x c++ - -x none "${flags[@]}" -l"$2" -o /dev/null 2>/dev/null
}

# Is package $1 installed, or what it brings there all the same?
is_there() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" != installed ] || return 0
    shift
    case $1 in
        compiler) compiler=${CXX:-g++}; command -v "${compiler%% *}" >/dev/null ;;
        command) command -v "$2" >/dev/null ;;
        file) [ -e "$2" ] ;;
        *) compiles_with "$1" "$2" ;;
    esac
}

missing=() reasons=()
while IFS='|' read -r package probe why; do
    package=${package// /}
    # shellcheck disable=SC2086  # the probe is two words
    is_there "$package" $probe || { missing+=("$package"); reasons+=("$(printf '  %-19s%s' "$package" "$why")"); }
done <<<"$needs"

[ ${#missing[@]} -gt 0 ] || { echo 'set-up: everything is there'; exit 0; }
echo "set-up: ${#missing[@]} packages are missing:"
printf '%s\n' "${reasons[@]}"

command -v apt-get >/dev/null || {
    echo "setup.sh: this is neither Debian nor Ubuntu (no apt-get): install what these packages hold, or unpack them" \
         "under a folder and set DEPS to it: ${missing[*]}" >&2
    exit 1
}
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "setup.sh: neither root nor sudo: ask an administrator for: apt-get install ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
    echo 'set-up: sudo may ask for your password'
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >>"$log" 2>&1 </dev/null
}
update() { echo 'set-up: apt-get update'; apt update; }
install() { apt install -y --no-install-recommends "${missing[@]}"; }

# Package lists older than a week may name versions that the archive no longer has.
update_done=
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -7 -print -quit 2>/dev/null)" ]; then
    update || true
    update_done=1
fi
echo "set-up: apt-get install ${missing[*]}"
if ! install && { [ "$update_done" ] || ! update || ! install; }; then
    tail -n 15 "$log" >&2
    echo "setup.sh: apt-get could not install: ${missing[*]}" >&2
    exit 1
fi
echo 'set-up: done'
