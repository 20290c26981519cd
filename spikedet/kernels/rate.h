// Calibration's neurons: mean spikes of a whole window, and their surrogate gradient.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "layout.h"

extern "C" {

// Mirrored field by field in rate.py. One layer's window for calibration: potentials v [steps][places][channels], one
// step standing for all if constant; T decisions after `delay` steps.
struct RateWindow {
    int64_t steps, constant, delay, is_signed, places, channels;
    const float *v, *u0, *theta, *lower;  // lower: of asymmetric IF, or null
};

// Mean spikes [places][channels], and slopes [steps][places][channels]: 1 where the surrogate rectangle around theta (or
// around 0, of a signed neuron) is open, 2 where the one around lower is, which is as many times wider as lower is larger.
// Returns -1 where there is not enough memory.
int64_t spikedet_rate(const RateWindow* window, float* rate, uint8_t* slopes) {
    const RateWindow w = *window;
    bool enough = true;
#pragma omp parallel firstprivate(w) reduction(&& : enough)
    {
        const std::unique_ptr<float[]> potentials(new (std::nothrow) float[w.channels]);
        const std::unique_ptr<float[]> counts(new (std::nothrow) float[w.channels]);
        float *potential = potentials.get(), *fired = counts.get();
        enough = potential && fired;
#pragma omp for schedule(static)
        for (int64_t place = 0; place < w.places; place++) {
            if (!enough) continue;
            std::memcpy(potential, w.u0, sizeof(float) * w.channels);
            std::fill(fired, fired + w.channels, 0.0f);
            for (int64_t t = 0; t < w.steps + w.delay; t++) {
                if (t < w.steps) {
                    const float* v = w.v + ((w.constant ? 0 : t) * w.places + place) * w.channels;
                    for (int64_t c = 0; c < w.channels; c++) potential[c] += v[c];
                }
                if (t < w.delay) continue;
                uint8_t* slope = slopes + ((t - w.delay) * w.places + place) * w.channels;
                for (int64_t c = 0; c < w.channels; c++) {
                    const float before = potential[c], half = w.theta[c] / 2;
                    const bool up = before >= w.theta[c];
                    slope[c] = std::abs(before - w.theta[c]) < half;
                    bool down = false;
                    if (w.is_signed) {
                        down = before < 0 && fired[c] > 0;
                        slope[c] |= std::abs(before) < half && fired[c] > 0;
                    }
                    float back = w.theta[c];
                    if (w.lower) {
                        back = -w.lower[c];
                        down = before <= w.lower[c];
                        if (!slope[c] && std::abs(before + back) < half * (back / w.theta[c])) slope[c] = 2;
                    }
                    potential[c] = before - (up ? w.theta[c] : 0.0f) + (down ? back : 0.0f);
                    fired[c] += float(up) - float(down);
                }
            }
            for (int64_t c = 0; c < w.channels; c++) rate[place * w.channels + c] = fired[c] / float(w.steps);
        }
    }
    return enough ? 0 : -1;
}

// Gradients of v and of u[0] at every place, from that of the rate (equations 20 and 21 of the paper).
void spikedet_rate_backward(const RateWindow* window, const float* grad_rate, const uint8_t* slopes, float* grad_v,
                            float* grad_u0) {
    const RateWindow w = *window;
#pragma omp parallel for schedule(static) firstprivate(w)
    for (int64_t place = 0; place < w.places; place++) {
        float* grad = grad_u0 + place * w.channels;
        std::fill(grad, grad + w.channels, 0.0f);
        const float* outer = grad_rate + place * w.channels;
        if (w.constant) std::fill(grad_v + place * w.channels, grad_v + (place + 1) * w.channels, 0.0f);
        for (int64_t t = w.steps + w.delay - 1; t >= 0; t--) {
            if (t >= w.delay) {
                const uint8_t* slope = slopes + ((t - w.delay) * w.places + place) * w.channels;
                for (int64_t c = 0; c < w.channels; c++) {
                    // The rectangle around lower is wider and lower by the ratio by which its reset is larger.
                    const float height = float(slope[c] != 0) / w.theta[c];
                    const float ratio = slope[c] == 2 ? -w.theta[c] / w.lower[c] : 1.0f;
                    grad[c] = ratio * height * (outer[c] / float(w.steps)) + grad[c] * (1.0f - w.theta[c] * height);
                }
            }
            if (t >= w.steps) continue;
            float* to = grad_v + ((w.constant ? 0 : t) * w.places + place) * w.channels;
            if (w.constant)
                for (int64_t c = 0; c < w.channels; c++) to[c] += grad[c];
            else
                for (int64_t c = 0; c < w.channels; c++) to[c] = grad[c];
        }
    }
}

}  // extern "C"
