// What Python hands over.
#pragma once

#include <cstdint>
#include <exception>

// Mirrored field by field in layers.py.
struct Steps {
    int64_t steps;    // input steps K
    int64_t silent;   // first steps without a firing decision (firing delay)
    int64_t tail;     // steps after the input, with none
    int64_t images, height, width, channels;  // of the output
    const float *bias, *theta, *scale;          // [C]
    float *u, *count;                           // state [N][H'][W'][C]; count only for signed IF
    const float* lower;                         // [C], negative thresholds of asymmetric IF, or null
    float* current;                             // state [N][H'][W'][C] of C-LIF, or null
    float current_decay, potential_decay;       // of C-LIF
    int64_t hard;                               // whether C-LIF is reset to zero
    uint8_t* spikes;  // [K - silent + tail][N][H'][W'][planes * C / 8], positive plane first
};

struct Convolution {
    int64_t height, width, bytes;  // of the input
    int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
    const uint8_t* bits;
    const void* rows;    // [C / block][kh][kw][8 bytes][block], float or int8
    int64_t block;
    const int8_t* quads;  // [C / quad_block][kh][kw * 2 bytes][quad_block][4], or null
    int64_t quad_block;
    int64_t at_once;  // input maps whose spikes are listed or copied together; more are taken in parts
};

namespace {

// What `call` returns, or -1 where memory or its lists do not suffice: no exception leaves the library.
template <class Call> int64_t guarded(Call call) {
    try {
        return call();
    } catch (const std::exception&) {
        return -1;
    }
}

}  // namespace
