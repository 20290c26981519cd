// Integrate-and-fire neurons with soft reset: plain, signed or asymmetric; and C-LIF neurons.
#pragma once

#include "layout.h"
#include "vectors.h"

namespace {

// Charge, fire and reset of 16 * NV channels of one place.
template <int NV> struct Neurons {
    Floats u[NV], count[NV]{};  // count: the current of C-LIF
    const Steps& layer;
    const int64_t first, at;

    Neurons(const Steps& layer, int64_t place, int64_t first)
        : layer(layer), first(first), at(place * layer.channels + first) {
        for (int j = 0; j < NV; j++) u[j] = load<Floats>(layer.u + at + LANES * j);
        if (const float* second = layer.count ? layer.count : layer.current)
            for (int j = 0; j < NV; j++) count[j] = load<Floats>(second + at + LANES * j);
    }

    void save() const {
        for (int j = 0; j < NV; j++) store(layer.u + at + LANES * j, u[j]);
        if (float* second = layer.count ? layer.count : layer.current)
            for (int j = 0; j < NV; j++) store(second + at + LANES * j, count[j]);
    }

    // Input potential x of one step for 16 channels.
    void charge(int j, Floats x) {
        if (layer.current) {
            count[j] = layer.current_decay * count[j] + x;
            x = count[j];
            u[j] *= Floats{} + layer.potential_decay;
        }
        u[j] += x;
    }

    // One decision; writes the bits of step k of output place `place` (counted over images, rows and columns).
    void fire(int64_t k, int64_t place) {
        const int64_t plane = layer.channels / 8, planes = layer.count || layer.lower ? 2 : 1;
        const int64_t places = layer.images * layer.height * layer.width;
        uint8_t* out = layer.spikes + (((k - layer.silent) * places + place) * planes) * plane + first / 8;
        for (int j = 0; j < NV; j++) {
            const Floats theta = load<Floats>(layer.theta + first + LANES * j);
            const Ints up = u[j] >= theta;
            store(out + 2 * j, sign_bits(up));
            if (layer.count) {
                const Ints down = (u[j] < Floats{}) & (count[j] > Floats{});
                store(out + plane + 2 * j, sign_bits(down));
                u[j] += (Floats)((Ints)theta & down);
                count[j] -= __builtin_convertvector(up, Floats) - __builtin_convertvector(down, Floats);
            }
            if (layer.lower) {
                const Floats lower = load<Floats>(layer.lower + first + LANES * j);
                const Ints down = u[j] <= lower;
                store(out + plane + 2 * j, sign_bits(down));
                u[j] -= (Floats)((Ints)lower & down);
            }
            if (layer.current && layer.hard)
                u[j] = (Floats)((Ints)u[j] & ~up);
            else
                u[j] -= (Floats)((Ints)theta & up);
        }
    }
};

}  // namespace
