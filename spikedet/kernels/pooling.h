// Max-pooling of spike trains: the growth of each window's largest spike count.
#pragma once

#include <cstdint>

#include "vectors.h"

// Mirrored field by field in packed_operations.py.
struct MaxCount {
    int64_t steps, images, height, width, planes, plane_bytes;
    int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, out_h, out_w;
};

namespace {

// -1 in the lanes whose bit is set.
inline Shorts bit_lanes(const uint8_t* bits) {
    const Shorts worth = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, int16_t(-32768)};
    const Shorts all = Shorts{} + load<int16_t>(bits);
    return (all & worth) != Shorts{};
}

inline uint16_t lane_bits(Shorts mask) {
#ifdef SPIKEDET_AVX512
    return _mm512_movepi32_mask(_mm512_cvtepi16_epi32((__m256i)mask));
#else
    unsigned bits = 0;
    for (int i = 0; i < LANES; i++) bits |= unsigned(mask[i] & 1) << i;
    return uint16_t(bits);
#endif
}

inline void count_row(const MaxCount& p, const uint8_t* bits, int16_t* counts) {
    const int64_t channels = 8 * p.plane_bytes;
    for (int64_t x = 0; x < p.width; x++, bits += p.planes * p.plane_bytes, counts += channels)
        for (int64_t c = 0; c < channels; c += LANES) {
            Shorts count = load<Shorts>(counts + c) - bit_lanes(bits + c / 8);
            if (p.planes == 2) count += bit_lanes(bits + p.plane_bytes + c / 8);
            store(counts + c, count);
        }
}

inline Shorts window_maximum(const MaxCount& p, const int16_t* counts, int64_t y, int64_t x, int64_t c) {
    const int64_t channels = 8 * p.plane_bytes;
    Shorts most = Shorts{} + int16_t(INT16_MIN);
    for (int64_t i = 0; i < p.kernel_h; i++) {
        const int64_t row = y * p.stride_h - p.padding_h + i * p.dilation_h;
        if (row < 0 || row >= p.height) continue;
        for (int64_t j = 0; j < p.kernel_w; j++) {
            const int64_t column = x * p.stride_w - p.padding_w + j * p.dilation_w;
            if (column < 0 || column >= p.width) continue;
            const Shorts count = load<Shorts>(counts + (row * p.width + column) * channels + c);
            most = count > most ? count : most;
        }
    }
    return most;
}

}  // namespace

extern "C" {

// bits [steps][N][H][W][planes][plane_bytes]; counts [N][H][W][C] and best [N][H'][W'][C] move on; out like bits, pooled.
void spikedet_max_count(const MaxCount* pool, const uint8_t* bits, int16_t* counts, int16_t* best, uint8_t* out) {
    const MaxCount p = *pool;
    const int64_t channels = 8 * p.plane_bytes, bytes = p.planes * p.plane_bytes;
#pragma omp parallel firstprivate(p)
    for (int64_t k = 0; k < p.steps; k++) {
#pragma omp for schedule(static)
        for (int64_t row = 0; row < p.images * p.height; row++)
            count_row(p, bits + (k * p.images * p.height + row) * p.width * bytes, counts + row * p.width * channels);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < p.images * p.out_h; row++) {
            const int16_t* image = counts + row / p.out_h * p.height * p.width * channels;
            for (int64_t x = 0; x < p.out_w; x++) {
                int16_t* kept = best + (row * p.out_w + x) * channels;
                uint8_t* to = out + ((k * p.images * p.out_h + row) * p.out_w + x) * bytes;
                for (int64_t c = 0; c < channels; c += LANES) {
                    const Shorts most = window_maximum(p, image, row % p.out_h, x, c), before = load<Shorts>(kept + c);
                    store(to + c / 8, lane_bits(most > before));
                    if (p.planes == 2) store(to + p.plane_bytes + c / 8, lane_bits(most < before));
                    store(kept + c, most);
                }
            }
        }
    }
}

}  // extern "C"
