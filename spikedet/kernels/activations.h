// Clip, quantization-clip and C-LIF activations and their gradients, one pass over memory each; channels last.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "layout.h"

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

// Mirrored field by field in snn/compiled_step.py. States [places][channels]; current and potential null before step 1.
struct LeakyStep {
    int64_t places, channels;
    const float *theta, *current, *potential;  // [channels], and the state that the step before left
    float current_decay, potential_decay;
    int64_t hard;  // whether a spike sets the potential to zero
    float width;   // of the rectangle of the gradient, in units of theta
};

}

namespace {

// sum(row, sums) over all places, by blocks; then total(channel, sum over the blocks). kinds: sums for each channel.
template <class Of, class Sum, class Total> void sum_over_places(const Of& a, Sum sum, Total total, int64_t kinds = 1) {
    const int64_t blocks = (a.places + BLOCK - 1) / BLOCK, all_sums = a.channels * kinds;
    std::vector<float> sums(blocks * all_sums);
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t place = block * BLOCK; place < std::min(a.places, (block + 1) * BLOCK); place++)
            sum(place * a.channels, sums.data() + block * all_sums);
    for (int64_t c = 0; c < all_sums; c++) {
        double all = 0;
        for (int64_t block = 0; block < blocks; block++) all += sums[block * all_sums + c];
        total(c, float(all));
    }
}

// Rows of C values, one place each; restrict lets the compiler take them a vector at a time. LEAKY: negative values are
// multiplied by the slope and clipped at -theta; without it (ReLU) they are zero and the slope is not looked at.

template <bool LEAKY, class S>
void quantize_clip_row(int64_t channels, const float* __restrict scale, float levels, float slope,
                       const S* __restrict values, const uint8_t* __restrict kept, S* __restrict out,
                       uint8_t* __restrict inside) {
    const float least = LEAKY ? -levels : 0.0f;
    for (int64_t c = 0; c < channels; c++) {
        const float scaled = widened(values[c]) * scale[c];
        float level = std::floor(scaled + 0.5f), whole = scaled;
        if constexpr (LEAKY) {
            const float most = std::floor(-slope * (scaled / levels + 0.5f)) + (levels - 1.0f);
            float below = std::floor(-slope * (scaled + 0.5f));
            below = below < most ? below : most;
            below = below < 0 ? 0 : below;
            level = scaled < 0 ? -below : level;
            whole = scaled < 0 ? slope * scaled : scaled;
        }
        if (kept) level = kept[c] ? whole : level;
        inside[c] = (level >= least) & (level <= levels);
        level = level < least ? least : level;
        level = level > levels ? levels : level;
        narrowed(level / scale[c], out + c);
    }
}

template <bool LEAKY, class S>
void quantize_clip_backward_row(int64_t channels, float slope, const S* __restrict grad, const S* __restrict values,
                                const S* __restrict out, const uint8_t* __restrict inside, S* __restrict grad_values,
                                float* __restrict sums) {
    for (int64_t c = 0; c < channels; c++) {
        const float outer = widened(grad[c]), value = widened(values[c]);
        float passed = outer * float(inside[c]);
        if constexpr (LEAKY) passed = value < 0 ? stored<S>(slope * passed) : passed;
        narrowed(passed, grad_values + c);
        sums[c] += outer * widened(out[c]) - passed * value;
    }
}

template <bool LEAKY, class S>
void clip_row(int64_t channels, const float* __restrict theta, float slope, const S* __restrict values,
              S* __restrict out) {
    for (int64_t c = 0; c < channels; c++) {
        float value = widened(values[c]);
        value = value < 0 ? (LEAKY ? stored<S>(slope * value) : 0.0f) : value;
        value = value > theta[c] ? theta[c] : value;
        if constexpr (LEAKY) value = value < -theta[c] ? -theta[c] : value;
        narrowed(value, out + c);
    }
}

template <bool LEAKY, class S>
void clip_backward_row(int64_t channels, const float* __restrict theta, float slope, const S* __restrict grad,
                       const S* __restrict values, S* __restrict grad_values, float* __restrict sums) {
    for (int64_t c = 0; c < channels; c++) {
        const float outer = widened(grad[c]), value = widened(values[c]);
        const float above = value > theta[c] ? 1.0f : 0.0f;
        const float below = LEAKY && stored<S>(slope * value) < -theta[c] ? 1.0f : 0.0f;
        const float passed = LEAKY ? (value > 0 ? outer : stored<S>(slope * outer)) : outer * (value > 0 ? 1.0f : 0.0f);
        narrowed(passed * (1.0f - above - below), grad_values + c);
        sums[c] += outer * (above - below);
    }
}

// f(true_type) for LeakyReLU, f(false_type) for ReLU.
template <class F> void by_slope(float slope, F f) { slope != 0 ? f(std::true_type()) : f(std::false_type()); }

// inside: 1 where the gradient of the clip passes. kept (or null): not 0 where a value is not quantized.
template <class S>
void quantize_clip(const Activation& a, const S* values, const uint8_t* kept, S* out, uint8_t* inside) {
    std::vector<float> scale(a.channels);
    for (int64_t c = 0; c < a.channels; c++) scale[c] = 1.0f / a.theta[c] * float(a.levels);  // as torch divides a number
    const float levels = float(a.levels);
    by_slope(a.slope, [&](auto leaky) {
#pragma omp parallel for schedule(static)
        for (int64_t row = 0; row < a.places * a.channels; row += a.channels)
            quantize_clip_row<leaky>(a.channels, scale.data(), levels, a.slope, values + row,
                                     kept ? kept + row : nullptr, out + row, inside + row);
    });
}

// Gradients of values and theta: g is homogeneous, d g / d theta = (g - x d g / d x) / theta.
template <class S>
void quantize_clip_backward(const Activation& a, const S* grad, const S* values, const S* out, const uint8_t* inside,
                            S* grad_values, float* grad_theta) {
    by_slope(a.slope, [&](auto leaky) {
        auto sum = [&](int64_t row, float* sums) {
            quantize_clip_backward_row<leaky>(a.channels, a.slope, grad + row, values + row, out + row, inside + row,
                                              grad_values + row, sums);
        };
        sum_over_places(a, sum, [&](int64_t c, float all) { grad_theta[c] = all / a.theta[c]; });
    });
}

// theta is compared as it is stored, in the type of the values.
template <class S> void clip_values(const Activation& a, const S* values, S* out) {
    by_slope(a.slope, [&](auto leaky) {
#pragma omp parallel for schedule(static)
        for (int64_t row = 0; row < a.places * a.channels; row += a.channels)
            clip_row<leaky>(a.channels, a.theta, a.slope, values + row, out + row);
    });
}

template <class S>
void clip_backward(const Activation& a, const S* grad, const S* values, S* grad_values, float* grad_theta) {
    by_slope(a.slope, [&](auto leaky) {
        auto sum = [&](int64_t row, float* sums) {
            clip_backward_row<leaky>(a.channels, a.theta, a.slope, grad + row, values + row, grad_values + row, sums);
        };
        sum_over_places(a, sum, [&](int64_t c, float all) { grad_theta[c] = all; });
    });
}

template <bool BEGINS, bool HARD, class S>
void leaky_row(const LeakyStep& a, const float* __restrict theta, const float* __restrict current_before,
               const float* __restrict potential_before, const S* __restrict values, S* __restrict out,
               float* __restrict current, float* __restrict reached, float* __restrict potential) {
    for (int64_t c = 0; c < a.channels; c++) {
        float now = widened(values[c]), v = now;
        if constexpr (!BEGINS) {
            now = a.current_decay * current_before[c] + now;
            v = a.potential_decay * potential_before[c] + now;
        }
        const float worth = v >= theta[c] ? theta[c] : 0.0f;
        current[c] = now;
        reached[c] = v;
        potential[c] = HARD ? (v >= theta[c] ? 0.0f : v) : v - worth;
        narrowed(worth, out + c);
    }
}

// One step of C-LIF. reached: the potential before the reset.
template <class S>
void leaky_step(const LeakyStep& a, const S* values, S* out, float* current, float* reached, float* potential) {
    auto run = [&](auto begins, auto hard) {
#pragma omp parallel for schedule(static)
        for (int64_t row = 0; row < a.places * a.channels; row += a.channels)
            leaky_row<begins, hard>(a, a.theta, begins ? nullptr : a.current + row, begins ? nullptr : a.potential + row,
                                    values + row, out + row, current + row, reached + row, potential + row);
    };
    auto by_reset = [&](auto begins) { a.hard ? run(begins, std::true_type()) : run(begins, std::false_type()); };
    a.current ? by_reset(std::false_type()) : by_reset(std::true_type());
}

template <bool DECAYS, class S>
void leaky_backward_row(const LeakyStep& a, const float* __restrict theta, const float* __restrict current,
                        const float* __restrict potential, const S* __restrict grad, const float* __restrict reached,
                        S* __restrict grad_values, float* __restrict sums) {
    const float height = 1.0f / a.width, half = a.width / 2;
    for (int64_t c = 0; c < a.channels; c++) {
        const float outer = widened(grad[c]), ratio = reached[c] / theta[c];
        const float passed = outer * theta[c] * (std::fabs(ratio - 1.0f) < half ? height : 0.0f) / theta[c];
        narrowed(passed, grad_values + c);
        sums[c] += (reached[c] >= theta[c] ? outer : 0.0f) - passed * ratio;
        if constexpr (DECAYS) {
            sums[a.channels + c] += passed * current[c];
            sums[2 * a.channels + c] += passed * potential[c];
        }
    }
}

// Gradients of values, and sums over places: of theta and, where the state before is given, of both decays [3][channels].
template <class S>
void leaky_step_backward(const LeakyStep& a, const S* grad, const float* reached, S* grad_values, float* grad_sums) {
    auto run = [&](auto decays) {
        auto sum = [&](int64_t row, float* sums) {
            leaky_backward_row<decays>(a, a.theta, decays ? a.current + row : nullptr,
                                       decays ? a.potential + row : nullptr, grad + row, reached + row,
                                       grad_values + row, sums);
        };
        sum_over_places(a, sum, [&](int64_t c, float all) { grad_sums[c] = all; }, 3);
    };
    a.current ? run(std::true_type()) : run(std::false_type());
}

}  // namespace

extern "C" {

// Each returns -1 where there is not enough memory, else 0.
#define SPIKEDET_GUARDED(...)                                                                                          \
    return guarded([=] {                                                                                               \
        __VA_ARGS__;                                                                                                   \
        return int64_t(0);                                                                                             \
    })
#define SPIKEDET_ACTIVATIONS(S, NAME)                                                                                  \
    int64_t spikedet_quantize_clip_##NAME(const Activation* a, const S* values, const uint8_t* kept, S* out,           \
                                          uint8_t* inside) {                                                           \
        SPIKEDET_GUARDED(quantize_clip(*a, values, kept, out, inside));                                                \
    }                                                                                                                  \
    int64_t spikedet_quantize_clip_backward_##NAME(const Activation* a, const S* grad, const S* values, const S* out,  \
                                                   const uint8_t* inside, S* grad_values, float* grad_theta) {         \
        SPIKEDET_GUARDED(quantize_clip_backward(*a, grad, values, out, inside, grad_values, grad_theta));              \
    }                                                                                                                  \
    int64_t spikedet_clip_##NAME(const Activation* a, const S* values, S* out) {                                       \
        SPIKEDET_GUARDED(clip_values(*a, values, out));                                                                \
    }                                                                                                                  \
    int64_t spikedet_clip_backward_##NAME(const Activation* a, const S* grad, const S* values, S* grad_values,         \
                                          float* grad_theta) {                                                         \
        SPIKEDET_GUARDED(clip_backward(*a, grad, values, grad_values, grad_theta));                                    \
    }                                                                                                                  \
    int64_t spikedet_leaky_step_##NAME(const LeakyStep* a, const S* values, S* out, float* current, float* reached,    \
                                       float* potential) {                                                             \
        SPIKEDET_GUARDED(leaky_step(*a, values, out, current, reached, potential));                                    \
    }                                                                                                                  \
    int64_t spikedet_leaky_step_backward_##NAME(const LeakyStep* a, const S* grad, const float* reached,               \
                                                S* grad_values, float* grad_sums) {                                    \
        SPIKEDET_GUARDED(leaky_step_backward(*a, grad, reached, grad_values, grad_sums));                              \
    }

SPIKEDET_ACTIVATIONS(float, float32)
SPIKEDET_ACTIVATIONS(Bfloat, bfloat16)

}  // extern "C"
