// Convolution of bit-packed spike trains fused with integrate-and-fire neurons, one chunk of time steps per call.
//
// Layout: channels last. A spike train is bits [K][N][H][W][bytes], channel c of a place is bit c % 8 of byte c / 8.
// Potentials are float [N][H'][W'][C]; C is a multiple of 16, padding channels have an infinite threshold.
//
// Two ways to the same sums. Event-driven: for each output place, add the weight rows of the spikes in its window
// (rows of one kernel row lie behind each other, so that the spikes of a window row are one run of the list of the
// input row). Dense (int8 weights and VNNI only): every product of the window, at a cost that the firing rate leaves
// as it is. Integer sums are exact, so with int8 weights both give the same bits; the cheaper one is taken.
// A place keeps its potential in registers over the whole chunk: charge, fire, soft reset and packing are one pass.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#define SPIKEDET_AVX512 1
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef int16_t Shorts __attribute__((vector_size(32)));

template <class T> inline T load(const void* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class T> inline void store(void* to, const T& value) { std::memcpy(to, &value, sizeof value); }

inline uint16_t sign_bits(Ints mask) {
#ifdef SPIKEDET_AVX512
    return _mm512_movepi32_mask((__m512i)mask);
#else
    unsigned bits = 0;
    for (int i = 0; i < LANES; i++) bits |= unsigned(mask[i] & 1) << i;
    return uint16_t(bits);
#endif
}

}  // namespace

// Mirrored field by field in layers.py.
struct Steps {
    int64_t steps;    // input steps K
    int64_t silent;   // first steps without a firing decision (firing delay)
    int64_t tail;     // steps after the input, with none
    int64_t pictures, height, width, channels;  // of the output
    const float *bias, *theta, *scale;          // [C]
    float *u, *count;                           // state [N][H'][W'][C]; count only for signed IF
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
};

namespace {

// Charge, fire and reset of 16 * NV channels of one place.
template <int NV> struct Neurons {
    Floats u[NV], count[NV]{};
    const Steps& layer;
    const int64_t first, at;

    Neurons(const Steps& layer, int64_t place, int64_t first)
        : layer(layer), first(first), at(place * layer.channels + first) {
        for (int j = 0; j < NV; j++) u[j] = load<Floats>(layer.u + at + LANES * j);
        if (layer.count)
            for (int j = 0; j < NV; j++) count[j] = load<Floats>(layer.count + at + LANES * j);
    }

    void save() const {
        for (int j = 0; j < NV; j++) store(layer.u + at + LANES * j, u[j]);
        if (layer.count)
            for (int j = 0; j < NV; j++) store(layer.count + at + LANES * j, count[j]);
    }

    // One decision; writes the bits of step k of output place `place` (counted over pictures, rows and columns).
    void fire(int64_t k, int64_t place) {
        const int64_t plane = layer.channels / 8, planes = layer.count ? 2 : 1;
        const int64_t places = layer.pictures * layer.height * layer.width;
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
            u[j] -= (Floats)((Ints)theta & up);
        }
    }
};

// Memory that one call leaves for the next of the same thread: fresh pages cost more than the work done on them.
template <class T> class Scratch {
    std::unique_ptr<T[]> memory;
    int64_t size = 0;

   public:
    T* get(int64_t wanted) {
        if (wanted > size) {
            memory.reset();
            memory.reset(new T[wanted]);
            size = wanted;
        }
        return memory.get();
    }
};

thread_local Scratch<uint32_t> event_list, row_starts, place_starts;
thread_local Scratch<uint8_t> spread_spikes;

// Indices of the spikes of every input row, times the bytes of a weight row, and where each place's begin.
struct Events {
    const int64_t rows, places;
    uint32_t *const row_start, *place_start = nullptr, *list = nullptr;

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
        for (int64_t r = 0; r < rows; r++) row_start[r + 1] = uint32_t(count(c.bits + r * bytes, bytes));
        for (int64_t r = 0; r < rows; r++) row_start[r + 1] += row_start[r];
    }

    int64_t total() const { return row_start[rows]; }

    void fill(const Convolution& c, uint32_t row_bytes) {
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

    // Adds the rows of columns from..to of one kernel row; the input map is k * pictures + n.
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
#pragma omp parallel firstprivate(s, c)
    {
        std::unique_ptr<Sum<W, NV>[]> sums(new Sum<W, NV>[s.steps]);
#pragma omp for collapse(3) schedule(dynamic, 1)
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t n = 0; n < s.pictures; n++)
                for (int64_t y = 0; y < s.height; y++)
                    for (int64_t x = 0; x < s.width; x++) {
                        const char* rows = static_cast<const char*>(c.rows) + b * c.kernel_h * c.kernel_w * cin * row_bytes;
                        const Window window{c, events, rows, row_bytes, cin, y * c.stride_h - c.padding_h, x * c.stride_w - c.padding_w};
                        const int64_t place = (n * s.height + y) * s.width + x;
                        Neurons<NV> neurons(s, place, b * block);
                        const auto charge = [&](Sum<W, NV>& sum) {
                            for (int j = 0; j < NV; j++) {
                                const int64_t at = b * block + LANES * j;
                                Floats v = sum.total(j);
                                if (!std::is_same<W, float>::value) v *= load<Floats>(s.scale + at);
                                neurons.u[j] += v + load<Floats>(s.bias + at);
                            }
                        };
                        if (!whole) {
                            std::fill(sums.get(), sums.get() + s.steps, Sum<W, NV>());
                            for (int64_t ky = 0; ky < c.kernel_h; ky++)
                                for (int64_t kx = 0; kx < c.kernel_w; kx += columns)
                                    for (int64_t k = 0; k < s.steps; k++)
                                        window.run(k * s.pictures + n, ky, kx, kx + columns, sums[k]);
                        }
                        for (int64_t k = 0; k < s.steps; k++) {
                            if (whole) {
                                Sum<W, NV> sum;
                                for (int64_t ky = 0; ky < c.kernel_h; ky++)
                                    window.run(k * s.pictures + n, ky, 0, c.kernel_w, sum);
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
}

#ifdef SPIKEDET_AVX512
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
            const uint8_t* in = spikes + (((k * s.pictures + n) * c.height + iy) * padded + x * c.stride_w) * cin;
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
                    neurons.u[j] += v + load<Floats>(s.bias + at);
                }
            if (k >= s.silent) neurons.fire(k, place + p);
            neurons.save();
        }
    }
}

template <int NV> void densely(const Steps s, const Convolution c) {
    const int64_t blocks = s.channels / (NV * LANES);
    const int64_t padded = std::max((s.width - 1) * c.stride_w + c.kernel_w, c.padding_w + 1);
    const uint8_t* spikes = spread(c, s.steps * s.pictures, padded);
#pragma omp parallel for collapse(3) schedule(dynamic, 1) firstprivate(s, c)
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t n = 0; n < s.pictures; n++)
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
    const double per_place = double(total) / double(s.steps * s.pictures * c.height * c.width);
    const double inputs = double(c.height * c.width) / double(s.height * s.width), bytes = double(c.bytes);
    const double by_events = double(s.channels) / double(c.block) * (90 + window * per_place * (0.6 + double(c.block) / 45)) +
                             inputs * (8 + 2 * bytes);
    const double dense = double(s.channels) / double(c.quad_block) * (15 + window * cin * double(c.quad_block) / 155) +
                         inputs * 1.5 * bytes;
    return dense < by_events;
}
#endif

template <class W> int64_t convolve(const Steps& s, const Convolution& c, int way) {
    Events events(c, s.steps * s.pictures);
#ifdef SPIKEDET_AVX512
    const bool possible = c.quads && c.dilation_h == 1 && c.dilation_w == 1;
    if (possible && way != 1 && (way == 2 || dense_is_cheaper(s, c, events.total()))) {
        if (c.quad_block == 16) densely<1>(s, c);
        if (c.quad_block == 32) densely<2>(s, c);
        if (c.quad_block == 64) densely<4>(s, c);
        return 2;
    }
#endif
    if (c.block == 16) by_events<W, 1>(s, c, events);
    if (c.block == 32) by_events<W, 2>(s, c, events);
    if (c.block == 64) by_events<W, 4>(s, c, events);
    if (c.block == 128) by_events<W, 8>(s, c, events);
    if (c.block == 192) by_events<W, 12>(s, c, events);
    return 1;
}

}  // namespace

extern "C" {

// 1 where the dense path exists.
int64_t spikedet_has_dense() {
#ifdef SPIKEDET_AVX512
    return 1;
#else
    return 0;
#endif
}

// way: 0 the cheaper, 1 event-driven, 2 dense. Returns the way taken.
int64_t spikedet_convolve_float(const Steps* s, const Convolution* c) { return convolve<float>(*s, *c, 1); }
int64_t spikedet_convolve_int8(const Steps* s, const Convolution* c, int64_t way) { return convolve<int8_t>(*s, *c, int(way)); }

// Neurons on given potentials v [1 or K][N][H'][W'][C] (bias included); one step stands for all if it is constant.
void spikedet_neurons(const Steps* layer, const float* v, int64_t constant) {
    const Steps& s = *layer;
    const int64_t places = s.pictures * s.height * s.width;
#pragma omp parallel for schedule(static)
    for (int64_t place = 0; place < places; place++)
        for (int64_t first = 0; first < s.channels; first += LANES) {
            Neurons<1> neurons(s, place, first);
            for (int64_t k = 0; k < s.steps + s.tail; k++) {
                if (k < s.steps)
                    neurons.u[0] += load<Floats>(v + ((constant ? 0 : k) * places + place) * s.channels + first);
                if (k >= s.silent) neurons.fire(k, place);
            }
            neurons.save();
        }
}

// Set bits of each of `rows` rows of `bytes` bytes.
void spikedet_count(const uint8_t* bits, int64_t rows, int64_t bytes, int64_t* counts) {
    for (int64_t r = 0; r < rows; r++) counts[r] = Events::count(bits + r * bytes, bytes);
}

// sums[place][8 bytes] += spikes of `steps` steps, bits [steps][places][bytes].
void spikedet_accumulate(const uint8_t* bits, int64_t steps, int64_t places, int64_t bytes, float* sums) {
#pragma omp parallel for schedule(static)
    for (int64_t place = 0; place < places; place++)
        for (int64_t k = 0; k < steps; k++)
            for (int64_t i = 0; i < bytes; i++) {
                const unsigned byte = bits[(k * places + place) * bytes + i];
                for (int c = 0; c < 8; c++) sums[(place * bytes + i) * 8 + c] += float(byte >> c & 1);
            }
}

// out[place][C] = theta[C] * (positive bit - negative bit); bits [places][planes][C padded to whole bytes].
void spikedet_unpack(const uint8_t* bits, int64_t places, int64_t planes, int64_t plane_bytes, int64_t channels,
                     const float* theta, float* out) {
#pragma omp parallel for schedule(static)
    for (int64_t place = 0; place < places; place++) {
        const uint8_t* in = bits + place * planes * plane_bytes;
        float* to = out + place * channels;
        for (int64_t c = 0; c < channels; c++) to[c] = theta[c] * float(in[c / 8] >> (c % 8) & 1);
        if (planes == 2)
            for (int64_t c = 0; c < channels; c++) to[c] -= theta[c] * float(in[plane_bytes + c / 8] >> (c % 8) & 1);
    }
}

// Mirrored field by field in rate.py. One layer's window for calibration: potentials v [steps][places][channels], one
// step standing for all if constant; T decisions after `delay` steps. u0 is [u0_places][channels], repeated.
struct RateWindow {
    int64_t steps, constant, delay, is_signed, places, channels, u0_places;
    const float *v, *u0, *theta, *width;
};

// Mean spikes [places][channels], and slopes [steps][places][channels]: 1 where a surrogate rectangle is open.
void spikedet_rate(const RateWindow* window, float* rate, uint8_t* slopes) {
    const RateWindow w = *window;
#pragma omp parallel firstprivate(w)
    {
        std::vector<float> u(w.channels), count(w.channels);
#pragma omp for schedule(static)
        for (int64_t place = 0; place < w.places; place++) {
            std::memcpy(u.data(), w.u0 + place % w.u0_places * w.channels, sizeof(float) * w.channels);
            std::fill(count.begin(), count.end(), 0.0f);
            float *potential = u.data(), *fired = count.data();
            for (int64_t t = 0; t < w.steps + w.delay; t++) {
                if (t < w.steps) {
                    const float* v = w.v + ((w.constant ? 0 : t) * w.places + place) * w.channels;
                    for (int64_t c = 0; c < w.channels; c++) potential[c] += v[c];
                }
                if (t < w.delay) continue;
                uint8_t* slope = slopes + ((t - w.delay) * w.places + place) * w.channels;
                for (int64_t c = 0; c < w.channels; c++) {
                    const float before = potential[c], half = w.width[c] / 2;
                    const bool up = before >= w.theta[c];
                    const bool down = w.is_signed && before < 0 && fired[c] > 0;
                    slope[c] = (std::abs(before - w.theta[c]) < half) | (w.is_signed && (std::abs(before) < half) && fired[c] > 0);
                    const float spike = float(up) - float(down);
                    potential[c] = before - w.theta[c] * spike;
                    fired[c] += spike;
                }
            }
            for (int64_t c = 0; c < w.channels; c++) rate[place * w.channels + c] = fired[c] / float(w.steps);
        }
    }
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
                    const float height = float(slope[c]) / w.width[c];
                    grad[c] = height * (outer[c] / float(w.steps)) + grad[c] * (1.0f - w.theta[c] * height);
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
