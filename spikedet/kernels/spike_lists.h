// Lists of the spikes of every input row.
#pragma once

#include <memory>
#include <stdexcept>

#include "layout.h"
#include "vectors.h"

namespace {

// Memory that one call leaves for the next of the same thread: fresh pages cost more than the work done on them.
template <class T> class Scratch {
    std::unique_ptr<T[]> memory;
    int64_t size = 0;

   public:
    T* get(int64_t wanted) {
#ifdef __SANITIZE_ADDRESS__
        size = 0;  // no more than is wanted: what is written beyond is found
#endif
        if (wanted > size) {
            size = 0;  // stays so if there is not enough memory
            memory.reset();
            memory.reset(new T[wanted]);
            size = wanted;
        }
        return memory.get();
    }
};
thread_local Scratch<uint32_t> event_list, place_starts;
thread_local Scratch<int64_t> row_starts;

// Indices of the spikes of every input row, times the bytes of a weight row, and where each place's begin. Spikes are
// counted in 64 bits, and a list of 2^32 of them is refused: calls are cut into parts long before.
struct Events {
    const int64_t rows, places;
    int64_t* const row_start;
    uint32_t *place_start = nullptr, *list = nullptr;

    static int64_t count(const uint8_t* bits, int64_t bytes) {
        int64_t found = 0, i = 0;
        for (; i + 8 <= bytes; i += 8) found += __builtin_popcountll(load<uint64_t>(bits + i));
        for (; i < bytes; i++) found += __builtin_popcount(bits[i]);
        return found;
    }

    Events(const Convolution& c, int64_t maps)
        : rows(maps * c.height), places(c.width), row_start(row_starts.get(rows + 1)) {
        const int64_t bytes = c.width * c.bytes;
        row_start[0] = 0;
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < rows; r++) row_start[r + 1] = count(c.bits + r * bytes, bytes);
        for (int64_t r = 0; r < rows; r++) row_start[r + 1] += row_start[r];
    }

    int64_t total() const { return row_start[rows]; }

    void fill(const Convolution& c, uint32_t row_bytes) {
        if (total() > UINT32_MAX) throw std::length_error("too many spikes");
        place_start = place_starts.get(rows * (places + 1));
        list = event_list.get(total());
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < rows; r++) {
            uint32_t* out = list + row_start[r];
            uint32_t* start = place_start + r * (places + 1);
            for (int64_t x = 0; x < places; x++) {
                start[x] = uint32_t(out - list);
                const uint8_t* bits = c.bits + (r * places + x) * c.bytes;
                for (int64_t i = 0; i < c.bytes; i += 2) {
                    const uint32_t first = uint32_t((x * c.bytes + i) * 8) * row_bytes;
                    uint32_t m = load<uint16_t>(bits + i);
#ifdef SPIKEDET_AVX512
                    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
                    const __m512i at =
                        _mm512_add_epi32(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(row_bytes)), _mm512_set1_epi32(first));
                    const int found = __builtin_popcount(m);
                    // Only the bits found are written: the next row belongs to another thread.
                    _mm512_mask_storeu_epi32(out, __mmask16((1u << found) - 1), _mm512_maskz_compress_epi32(__mmask16(m), at));
                    out += found;
#else
                    for (; m; m &= m - 1) *out++ = first + uint32_t(__builtin_ctz(m)) * row_bytes;
#endif
                }
            }
            start[places] = uint32_t(out - list);
        }
    }
};

}  // namespace
