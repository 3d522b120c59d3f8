// Segments: the parts of buckets whose gradients the backward pass completes at the same time. Ranks reduce a segment
// at a time, and each keeps a share of every one.
#pragma once

#include <vector>

#include "runtime/parameter.h"

struct Segment {
    int bucket = 0, stage = 0;    // Parameter::bucket, Parameter::stage
    int64_t first = 0, size = 0;  // elements of the bucket's tensors
    int64_t share = 0;            // rank r has [r*share, (r+1)*share) of it, as far as it exists

    ElementRange part(int rank) const { return Division{share}.range(rank, size); }
};

// The segments of these parameters among so many ranks, those first whose gradients are complete first.
std::vector<Segment> segments_of(const std::vector<Parameter*>& parameters, int ranks);

// Among which ranks a run is divided. `on`: each keeps only its share of masters and moments.
struct Sharing {
    int rank = 0, ranks = 1;
    bool reduces = false;  // whether gradients go to other ranks; one rank may try what several do
    bool on = false;

    // Divides parameters, all of those that lie side by side in their buckets.
    void divide(const std::vector<Parameter*>& parameters) const;
};
