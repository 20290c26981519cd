// Clip and quantization-clip activations and their gradients, one pass over memory each; channels last.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// A stored value as float and back: float itself, or bfloat16 rounded to nearest even. A struct in place of the plain bits
// would keep the compiler from taking them a vector at a time.
using Bfloat = uint16_t;

inline float widened(float value) { return value; }
inline float widened(Bfloat value) {
    const uint32_t bits = uint32_t(value) << 16;
    float wide;
    std::memcpy(&wide, &bits, 4);
    return wide;
}

inline void narrowed(float value, float* to) { *to = value; }
inline void narrowed(float value, Bfloat* to) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    *to = uint16_t(value != value ? 0x7fc0 : rounded);
}

// A product as torch leaves it in a tensor of this type.
template <class S> inline float stored(float value) {
    S kept;
    narrowed(value, &kept);
    return widened(kept);
}

constexpr int64_t BLOCK = 256;  // places whose theta gradients are summed together, whatever the number of threads

}  // namespace

extern "C" {

// Mirrored field by field in quantization/compiled.py. values [places][channels], theta [channels].
struct Activation {
    int64_t places, channels, levels;  // levels: T of the QC activation, 0 of the clip activation
    const float* theta;
    float slope;  // of the LeakyReLU, 0 is ReLU
};

}

namespace {

// sum(row, sums) over all places, by blocks; then total(channel, sum over the blocks).
template <class Sum, class Total> void sum_over_places(const Activation& a, Sum sum, Total total) {
    const int64_t blocks = (a.places + BLOCK - 1) / BLOCK;
    std::vector<float> sums(blocks * a.channels);
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t place = block * BLOCK; place < std::min(a.places, (block + 1) * BLOCK); place++)
            sum(place * a.channels, sums.data() + block * a.channels);
    for (int64_t c = 0; c < a.channels; c++) {
        double all = 0;
        for (int64_t block = 0; block < blocks; block++) all += sums[block * a.channels + c];
        total(c, float(all));
    }
}

// Rows of C values, one place each; restrict lets the compiler take them a vector at a time.

template <class S>
void quantize_clip_row(int64_t channels, const float* __restrict scale, float levels, const S* __restrict values,
                       const uint8_t* __restrict kept, S* __restrict out, uint8_t* __restrict inside) {
    for (int64_t c = 0; c < channels; c++) {
        const float scaled = widened(values[c]) * scale[c];
        float level = std::floor(scaled + 0.5f);
        if (kept) level = kept[c] ? scaled : level;
        inside[c] = (level >= 0) & (level <= levels);
        level = level < 0 ? 0 : level;
        level = level > levels ? levels : level;
        narrowed(level / scale[c], out + c);
    }
}

template <class S>
void quantize_clip_backward_row(int64_t channels, const S* __restrict grad, const S* __restrict values,
                                const S* __restrict out, const uint8_t* __restrict inside, S* __restrict grad_values,
                                float* __restrict sums) {
    for (int64_t c = 0; c < channels; c++) {
        const float outer = widened(grad[c]), passed = outer * float(inside[c]);
        narrowed(passed, grad_values + c);
        sums[c] += outer * widened(out[c]) - passed * widened(values[c]);
    }
}

template <class S>
void clip_row(int64_t channels, const float* __restrict theta, const S* __restrict values, S* __restrict out) {
    for (int64_t c = 0; c < channels; c++) {
        float value = widened(values[c]);
        value = value < 0 ? 0 : value;
        narrowed(value > theta[c] ? theta[c] : value, out + c);
    }
}

template <class S>
void clip_backward_row(int64_t channels, const float* __restrict theta, const S* __restrict grad,
                       const S* __restrict values, S* __restrict grad_values, float* __restrict sums) {
    for (int64_t c = 0; c < channels; c++) {
        const float outer = widened(grad[c]), value = widened(values[c]);
        const float above = value > theta[c] ? 1.0f : 0.0f, positive = value > 0 ? 1.0f : 0.0f;
        narrowed(outer * (positive * (1.0f - above)), grad_values + c);
        sums[c] += outer * above;
    }
}

// The same with negative values: LeakyReLU, clipped at -theta and theta.

template <class S>
void leaky_quantize_clip_row(int64_t channels, const float* __restrict scale, float levels, float slope,
                             const S* __restrict values, const uint8_t* __restrict kept, S* __restrict out,
                             uint8_t* __restrict inside) {
    for (int64_t c = 0; c < channels; c++) {
        const float scaled = widened(values[c]) * scale[c];
        const float most = std::floor(-slope * (scaled / levels + 0.5f)) + (levels - 1.0f);
        float below = std::floor(-slope * (scaled + 0.5f));
        below = below < most ? below : most;
        below = below < 0 ? 0 : below;
        float level = scaled < 0 ? -below : std::floor(scaled + 0.5f);
        if (kept) level = kept[c] ? (scaled < 0 ? slope * scaled : scaled) : level;
        inside[c] = (level >= -levels) & (level <= levels);
        level = level < -levels ? -levels : level;
        level = level > levels ? levels : level;
        narrowed(level / scale[c], out + c);
    }
}

template <class S>
void leaky_quantize_clip_backward_row(int64_t channels, float slope, const S* __restrict grad, const S* __restrict values,
                                      const S* __restrict out, const uint8_t* __restrict inside,
                                      S* __restrict grad_values, float* __restrict sums) {
    for (int64_t c = 0; c < channels; c++) {
        const float outer = widened(grad[c]), value = widened(values[c]), kept = outer * float(inside[c]);
        const float passed = value < 0 ? stored<S>(slope * kept) : kept;
        narrowed(passed, grad_values + c);
        sums[c] += outer * widened(out[c]) - passed * value;
    }
}

template <class S>
void leaky_clip_row(int64_t channels, const float* __restrict theta, float slope, const S* __restrict values,
                    S* __restrict out) {
    for (int64_t c = 0; c < channels; c++) {
        float value = widened(values[c]);
        value = value < 0 ? stored<S>(slope * value) : value;
        value = value > theta[c] ? theta[c] : value;
        narrowed(value < -theta[c] ? -theta[c] : value, out + c);
    }
}

template <class S>
void leaky_clip_backward_row(int64_t channels, const float* __restrict theta, float slope, const S* __restrict grad,
                             const S* __restrict values, S* __restrict grad_values, float* __restrict sums) {
    for (int64_t c = 0; c < channels; c++) {
        const float outer = widened(grad[c]), value = widened(values[c]);
        const float above = value > theta[c] ? 1.0f : 0.0f, below = stored<S>(slope * value) < -theta[c] ? 1.0f : 0.0f;
        const float passed = value > 0 ? outer : stored<S>(slope * outer);
        narrowed(passed * (1.0f - above - below), grad_values + c);
        sums[c] += outer * (above - below);
    }
}

// inside: 1 where the gradient of the clip passes. kept (or null): not 0 where a value is not quantized.
template <class S>
void quantize_clip(const Activation& a, const S* values, const uint8_t* kept, S* out, uint8_t* inside) {
    std::vector<float> scale(a.channels);
    for (int64_t c = 0; c < a.channels; c++) scale[c] = 1.0f / a.theta[c] * float(a.levels);  // as torch divides a number
    const float levels = float(a.levels);
#pragma omp parallel for schedule(static)
    for (int64_t place = 0; place < a.places; place++) {
        const int64_t row = place * a.channels;
        if (a.slope != 0)
            leaky_quantize_clip_row<S>(a.channels, scale.data(), levels, a.slope, values + row,
                                       kept ? kept + row : nullptr, out + row, inside + row);
        else if (kept)
            quantize_clip_row(a.channels, scale.data(), levels, values + row, kept + row, out + row, inside + row);
        else
            quantize_clip_row<S>(a.channels, scale.data(), levels, values + row, nullptr, out + row, inside + row);
    }
}

// Gradients of values and theta: g is homogeneous, d g / d theta = (g - x d g / d x) / theta.
template <class S>
void quantize_clip_backward(const Activation& a, const S* grad, const S* values, const S* out, const uint8_t* inside,
                            S* grad_values, float* grad_theta) {
    auto sum = [&](int64_t row, float* sums) {
        if (a.slope != 0)
            leaky_quantize_clip_backward_row(a.channels, a.slope, grad + row, values + row, out + row, inside + row,
                                             grad_values + row, sums);
        else
            quantize_clip_backward_row(a.channels, grad + row, values + row, out + row, inside + row, grad_values + row,
                                       sums);
    };
    sum_over_places(a, sum, [&](int64_t c, float all) { grad_theta[c] = all / a.theta[c]; });
}

// theta is compared as it is stored, in the type of the values.
template <class S> void clip_values(const Activation& a, const S* values, S* out) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < a.places * a.channels; row += a.channels)
        if (a.slope != 0)
            leaky_clip_row(a.channels, a.theta, a.slope, values + row, out + row);
        else
            clip_row(a.channels, a.theta, values + row, out + row);
}

template <class S>
void clip_backward(const Activation& a, const S* grad, const S* values, S* grad_values, float* grad_theta) {
    auto sum = [&](int64_t row, float* sums) {
        if (a.slope != 0)
            leaky_clip_backward_row(a.channels, a.theta, a.slope, grad + row, values + row, grad_values + row, sums);
        else
            clip_backward_row(a.channels, a.theta, grad + row, values + row, grad_values + row, sums);
    };
    sum_over_places(a, sum, [&](int64_t c, float all) { grad_theta[c] = all; });
}

}  // namespace

extern "C" {

#define SPIKEDET_ACTIVATIONS(S, NAME)                                                                                  \
    void spikedet_quantize_clip_##NAME(const Activation* a, const S* values, const uint8_t* kept, S* out,              \
                                       uint8_t* inside) {                                                              \
        quantize_clip(*a, values, kept, out, inside);                                                                  \
    }                                                                                                                  \
    void spikedet_quantize_clip_backward_##NAME(const Activation* a, const S* grad, const S* values, const S* out,     \
                                                const uint8_t* inside, S* grad_values, float* grad_theta) {            \
        quantize_clip_backward(*a, grad, values, out, inside, grad_values, grad_theta);                                \
    }                                                                                                                  \
    void spikedet_clip_##NAME(const Activation* a, const S* values, S* out) { clip_values(*a, values, out); }          \
    void spikedet_clip_backward_##NAME(const Activation* a, const S* grad, const S* values, S* grad_values,            \
                                       float* grad_theta) {                                                            \
        clip_backward(*a, grad, values, grad_values, grad_theta);                                                      \
    }

SPIKEDET_ACTIVATIONS(float, float32)
SPIKEDET_ACTIVATIONS(Bfloat, bfloat16)

}  // extern "C"
