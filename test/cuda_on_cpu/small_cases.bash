# The cases that are small enough for tools that cost a hundredfold: ThreadSanitizer here, compute-sanitizer on a GPU.
# Pruning takes several blocks here, so that a race between them can show. Products are cuBLASLt's, and kept apart, as is
# attention by wgmma: what racecheck and initcheck make of tensor copies is not known.
# shellcheck shell=bash disable=SC2034  # the scripts that source this use the variables
own_small_cases='*67x24*:*embedding*3x33x100*:*embedding*2x7x24*:*cross_entropy*5x320*:*attention*2x7x3x5'
own_small_cases+=':*attention*1x65x2x64:*adamw*:*prune*_4097_p50:*sample_token*257_top40'
own_small_cases+=':*layernorm*_5x1600:*norm_squared*_1000:*count_zeros*_1000'
small_cases="$own_small_cases:*matmul*5x7x3_1:*attention*1x65x2x64_wgmma:*attention*1x130x1x128_wgmma"
