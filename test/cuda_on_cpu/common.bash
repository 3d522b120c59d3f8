# What the tests of the CUDA half on the CPU share: they need the CUDA headers, and are skipped (code 77) without them.
nvcc=$(command -v nvcc || true)
export CUDA_HOME=${CUDA_HOME:-${nvcc:+${nvcc%/bin/nvcc}}}
CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}
if [ ! -e "$CUDA_HOME/include/cublasLt.h" ]; then
    echo "no CUDA headers: $CUDA_HOME/include/cublasLt.h is not there; set CUDA_HOME"
    exit 77
fi
# build TARGET: ends the test where make fails. One at a time: tests that run side by side need some files in common.
build() {
    mkdir -p build
    flock build/make.lock make -j"$(nproc)" "$1" >"build/make_$1.log" 2>&1 || { tail -n 30 "build/make_$1.log"; exit 1; }
}
