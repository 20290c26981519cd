// The dense way: every product of the window, 8-bit weights, four input channels a dot product (VNNI).
#pragma once

#include <algorithm>

#include "neurons.h"
#include "spike_lists.h"

#ifdef SPIKEDET_AVX512
namespace {

thread_local Scratch<uint8_t> spread_spikes;

// One byte per input channel, columns padded: [K * N][H][padded width][8 bytes].
const uint8_t* spread(const Convolution& c, int64_t maps, int64_t padded) {
    const int64_t cin = 8 * c.bytes, line = padded * cin;
    uint8_t* spikes = spread_spikes.get(maps * c.height * line);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < maps * c.height; r++) {
        uint8_t* out = spikes + r * line;
        std::memset(out, 0, c.padding_w * cin);
        const uint8_t* bits = c.bits + r * c.width * c.bytes;
        const int64_t inside = std::min(c.width, padded - c.padding_w);
        uint8_t* to = out + c.padding_w * cin;
        for (int64_t i = 0; i < inside * c.bytes; i += 2)
            store(to + 8 * i, _mm_maskz_set1_epi8(load<uint16_t>(bits + i), 1));
        std::memset(to + inside * cin, 0, line - (c.padding_w + inside) * cin);
    }
    return spikes;
}

template <int NV, int P>
inline void dense_places(const Steps& s, const Convolution& c, const uint8_t* spikes, int64_t padded, int64_t b, int64_t n,
                         int64_t y, int64_t x) {
    constexpr int64_t block = NV * LANES;
    const int64_t cin = 8 * c.bytes, apart = c.stride_w * cin, quads = c.kernel_w * cin / 4;
    const int64_t place = (n * s.height + y) * s.width + x;
    for (int64_t k = 0; k < s.steps + s.tail; k++) {
        __m512i sum[P][NV];
        for (int p = 0; p < P; p++)
            for (int j = 0; j < NV; j++) sum[p][j] = _mm512_setzero_si512();
        for (int64_t ky = 0; ky < (k < s.steps ? c.kernel_h : 0); ky++) {
            const int64_t iy = y * c.stride_h - c.padding_h + ky;
            if (iy < 0 || iy >= c.height) continue;
            const uint8_t* in = spikes + (((k * s.images + n) * c.height + iy) * padded + x * c.stride_w) * cin;
            const int8_t* w = c.quads + (b * c.kernel_h + ky) * quads * block * 4;
            for (int64_t q = 0; q < quads; q++, in += 4, w += block * 4) {
                __m512i weights[NV];
                for (int j = 0; j < NV; j++) weights[j] = load<__m512i>(w + 64 * j);
                for (int p = 0; p < P; p++) {
                    const __m512i four = _mm512_set1_epi32(load<int32_t>(in + p * apart));
                    for (int j = 0; j < NV; j++) sum[p][j] = _mm512_dpbusd_epi32(sum[p][j], four, weights[j]);
                }
            }
        }
        for (int p = 0; p < P; p++) {
            Neurons<NV> neurons(s, place + p, b * block);
            if (k < s.steps)
                for (int j = 0; j < NV; j++) {
                    const int64_t at = b * block + LANES * j;
                    const Floats v = __builtin_convertvector((Ints)sum[p][j], Floats) * load<Floats>(s.scale + at);
                    neurons.charge(j, v + load<Floats>(s.bias + at));
                }
            if (k >= s.silent) neurons.fire(k, place + p);
            neurons.save();
        }
    }
}

template <int NV> void densely(const Steps s, const Convolution c) {
    const int64_t blocks = s.channels / (NV * LANES);
    const int64_t padded = std::max((s.width - 1) * c.stride_w + c.kernel_w, c.padding_w + 1);
    const uint8_t* spikes = spread(c, s.steps * s.images, padded);
#pragma omp parallel for collapse(3) schedule(dynamic, 1) firstprivate(s, c)
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t n = 0; n < s.images; n++)
            for (int64_t y = 0; y < s.height; y++) {
                int64_t x = 0;
                for (; x + 5 <= s.width; x += 5) dense_places<NV, 5>(s, c, spikes, padded, b, n, y, x);
                const int64_t rest = s.width - x;
                if (rest == 4) dense_places<NV, 4>(s, c, spikes, padded, b, n, y, x);
                if (rest == 3) dense_places<NV, 3>(s, c, spikes, padded, b, n, y, x);
                if (rest == 2) dense_places<NV, 2>(s, c, spikes, padded, b, n, y, x);
                if (rest == 1) dense_places<NV, 1>(s, c, spikes, padded, b, n, y, x);
            }
}

// Rough cycles of one output place and step, measured; only speed depends on them.
bool dense_is_cheaper(const Steps& s, const Convolution& c, int64_t total) {
    const double window = double(c.kernel_h * c.kernel_w), cin = double(8 * c.bytes);
    const double per_place = double(total) / double(s.steps * s.images * c.height * c.width);
    const double inputs = double(c.height * c.width) / double(s.height * s.width), bytes = double(c.bytes);
    const double by_events = double(s.channels) / double(c.block) * (90 + window * per_place * (0.6 + double(c.block) / 45)) +
                             inputs * (8 + 2 * bytes);
    const double dense = double(s.channels) / double(c.quad_block) * (15 + window * cin * double(c.quad_block) / 155) +
                         inputs * 1.5 * bytes;
    return dense < by_events;
}

}  // namespace
#endif
