// The event-driven way: weight rows of the spikes in each output place's window are added.
#pragma once

#include <algorithm>
#include <memory>
#include <new>
#include <type_traits>

#include "neurons.h"
#include "spike_lists.h"

namespace {

// Sums of weight rows. The loops are not unrolled: runs are short, and every exit that is guessed wrong costs more than
// ten rows.
template <class W, int NV> struct Sum;

template <int NV> struct Sum<float, NV> {
    Floats sum[NV]{};

    void add(const char* base, const uint32_t* event, int64_t n) {
        for (int64_t i = 0; i < n; i++)
            for (int j = 0; j < NV; j++) sum[j] += load<Floats>(base + event[i] + sizeof(Floats) * j);
    }

    Floats total(int j) const { return sum[j]; }
};

// Two vectors' worth of 16-bit lanes where there are that many channels.
template <int WIDE> struct Lanes;
template <> struct Lanes<1> {
    typedef int16_t Sum __attribute__((vector_size(32)));
    typedef int8_t Row __attribute__((vector_size(16)));
};
template <> struct Lanes<2> {
    typedef int16_t Sum __attribute__((vector_size(64)));
    typedef int8_t Row __attribute__((vector_size(32)));
};

// int8 rows: 16-bit sums of at most 256 rows (|w| <= 127, so none overflows), then float ones (exact to 2^24).
template <int NV> struct Sum<int8_t, NV> {
    static constexpr int64_t ROWS = 256;
    static constexpr int WIDE = NV % 2 ? 1 : 2, PARTS = NV / WIDE;
    using Part = typename Lanes<WIDE>::Sum;
    using Row = typename Lanes<WIDE>::Row;
    Part part[PARTS]{};
    Floats whole[NV]{};
    int64_t left = ROWS;

    static Part row(const char* at, int j) {
        const Row bytes = load<Row>(at + sizeof(Row) * j);
#ifdef SPIKEDET_AVX512
        if constexpr (WIDE == 2) return (Part)_mm512_cvtepi8_epi16((__m256i)bytes);
#endif
        return __builtin_convertvector(bytes, Part);
    }

    void flush() {
        for (int j = 0; j < PARTS; j++) {
            for (int half = 0; half < WIDE; half++)
                whole[WIDE * j + half] +=
                    __builtin_convertvector(load<Shorts>(reinterpret_cast<const char*>(&part[j]) + sizeof(Shorts) * half), Floats);
            part[j] = Part{};
        }
        left = ROWS;
    }

    void add(const char* base, const uint32_t* event, int64_t n) {
        while (n > 0) {
            const int64_t now = std::min(n, left);
            for (int64_t i = 0; i < now; i++)
                for (int j = 0; j < PARTS; j++) part[j] += row(base + event[i], j);
            event += now;
            n -= now;
            left -= now;
            if (left == 0) flush();
        }
    }

    Floats total(int j) {
        if (left != ROWS) flush();
        return whole[j];
    }
};

// The window of an output place.
struct Window {
    const Convolution& c;
    const Events& events;
    const char* rows;  // of this block
    const int64_t row_bytes, cin, y0, x0;

    // Adds the rows of columns from..to of one kernel row; the input map is k * images + n.
    template <class Total> inline void run(int64_t map, int64_t ky, int64_t from, int64_t to, Total& sum) const {
        const int64_t iy = y0 + ky * c.dilation_h;
        if (iy < 0 || iy >= c.height) return;
        const uint32_t* start = events.place_start + (map * c.height + iy) * (c.width + 1);
        const char* base = rows + ky * c.kernel_w * cin * row_bytes;
        if (c.dilation_w == 1) {  // neighbours: one run
            const int64_t first = std::max<int64_t>(x0 + from, 0), last = std::min(x0 + to, c.width);
            if (last > first)
                sum.add(base - x0 * cin * row_bytes, events.list + start[first], int64_t(start[last]) - start[first]);
            return;
        }
        for (int64_t kx = from; kx < to; kx++) {
            const int64_t ix = x0 + kx * c.dilation_w;
            if (ix < 0 || ix >= c.width) continue;
            sum.add(base + (kx - ix) * cin * row_bytes, events.list + start[ix], int64_t(start[ix + 1]) - start[ix]);
        }
    }
};

// A neuron that fires does so in many steps of a chunk, so a weight row is read again and again. Where the rows that a
// window may touch do not fit the first-level cache, the window is cut into kernel rows or taps, each summed over all
// steps before the next.
constexpr double TOUCHED = 0.4, FIRST_LEVEL_CACHE = 40e3;

template <class W, int NV> void by_events(const Steps s, const Convolution c, Events& events) {
    constexpr int64_t block = NV * LANES, row_bytes = block * sizeof(W);
    events.fill(c, row_bytes);
    const int64_t cin = 8 * c.bytes, blocks = s.channels / block;
    const double touched = TOUCHED * double(c.kernel_w * cin * row_bytes);
    const bool whole = touched * double(c.kernel_h) <= FIRST_LEVEL_CACHE || s.steps == 1;
    const int64_t columns = touched <= FIRST_LEVEL_CACHE ? c.kernel_w : 1;
    bool enough = true;  // memory; no exception may leave a thread
#pragma omp parallel firstprivate(s, c) reduction(&& : enough)
    {
        std::unique_ptr<Sum<W, NV>[]> sums(whole ? nullptr : new (std::nothrow) Sum<W, NV>[s.steps]);
        enough = whole || sums;
#pragma omp for collapse(3) schedule(dynamic, 1)
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t n = 0; n < s.images; n++)
                for (int64_t y = 0; y < s.height; y++)
                    for (int64_t x = 0; enough && x < s.width; x++) {
                        const char* rows = static_cast<const char*>(c.rows) + b * c.kernel_h * c.kernel_w * cin * row_bytes;
                        const Window window{c, events, rows, row_bytes, cin, y * c.stride_h - c.padding_h, x * c.stride_w - c.padding_w};
                        const int64_t place = (n * s.height + y) * s.width + x;
                        Neurons<NV> neurons(s, place, b * block);
                        const auto charge = [&](Sum<W, NV>& sum) {
                            for (int j = 0; j < NV; j++) {
                                const int64_t at = b * block + LANES * j;
                                Floats v = sum.total(j);
                                if (!std::is_same<W, float>::value) v *= load<Floats>(s.scale + at);
                                neurons.charge(j, v + load<Floats>(s.bias + at));
                            }
                        };
                        if (!whole) {
                            std::fill(sums.get(), sums.get() + s.steps, Sum<W, NV>());
                            for (int64_t ky = 0; ky < c.kernel_h; ky++)
                                for (int64_t kx = 0; kx < c.kernel_w; kx += columns)
                                    for (int64_t k = 0; k < s.steps; k++)
                                        window.run(k * s.images + n, ky, kx, kx + columns, sums[k]);
                        }
                        for (int64_t k = 0; k < s.steps; k++) {
                            if (whole) {
                                Sum<W, NV> sum;
                                for (int64_t ky = 0; ky < c.kernel_h; ky++)
                                    window.run(k * s.images + n, ky, 0, c.kernel_w, sum);
                                charge(sum);
                            } else {
                                charge(sums[k]);
                            }
                            if (k >= s.silent) neurons.fire(k, place);
                        }
                        for (int64_t k = s.steps; k < s.steps + s.tail; k++)
                            if (k >= s.silent) neurons.fire(k, place);
                        neurons.save();
                    }
    }
    if (!enough) throw std::bad_alloc();
}

}  // namespace
