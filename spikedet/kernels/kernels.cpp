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
// All sizes are 64 bits.

#include <algorithm>

#include "activations.h"
#include "dense.h"
#include "events.h"
#include "pooling.h"
#include "rate.h"

namespace {

// Neurons on given potentials v [1 or K][N][H'][W'][C] (bias included); one step represents all if it is constant.
void drive(const Steps& s, const float* v, bool constant) {
    const int64_t places = s.images * s.height * s.width;
#pragma omp parallel for schedule(static)
    for (int64_t place = 0; place < places; place++)
        for (int64_t first = 0; first < s.channels; first += LANES) {
            Neurons<1> neurons(s, place, first);
            for (int64_t k = 0; k < s.steps + s.tail; k++) {
                if (k < s.steps)
                    neurons.charge(0, load<Floats>(v + ((constant ? 0 : k) * places + place) * s.channels + first));
                if (k >= s.silent) neurons.fire(k, place);
            }
            neurons.save();
        }
}

template <class W> int64_t convolve_together(const Steps& s, const Convolution& c, [[maybe_unused]] int way) {
    Events events(c, s.steps * s.images);
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

// Steps first.. of some of the images; of all of them unless it is one step, as images lie within a step.
Steps part_of(const Steps& s, int64_t first, int64_t steps, int64_t tail, int64_t image, int64_t images) {
    const int64_t places = s.height * s.width, planes = s.count || s.lower ? 2 : 1;
    Steps part = s;
    part.steps = steps, part.tail = tail, part.images = images;
    part.silent = std::clamp<int64_t>(s.silent - first, 0, steps + tail);
    part.u += image * places * s.channels;
    if (part.count) part.count += image * places * s.channels;
    if (part.current) part.current += image * places * s.channels;
    part.spikes += (std::max<int64_t>(first - s.silent, 0) * s.images + image) * places * planes * (s.channels / 8);
    return part;
}

template <class W> int64_t convolve(const Steps& s, const Convolution& c, int way) {
    const int64_t at_once = std::max<int64_t>(c.at_once, 1);
    if (s.steps * s.images <= at_once) return convolve_together<W>(s, c, way);
    const int64_t steps = std::max<int64_t>(at_once / s.images, 1), images = std::min(s.images, at_once);
    int64_t taken = 0;
    for (int64_t k = 0; k < s.steps; k += steps)
        for (int64_t n = 0; n < s.images; n += images) {
            Convolution part = c;
            part.bits += (k * s.images + n) * c.height * c.width * c.bytes;
            const Steps few = part_of(s, k, std::min(steps, s.steps - k), 0, n, std::min(images, s.images - n));
            taken = convolve_together<W>(few, part, way);
        }
    drive(part_of(s, s.steps, 0, s.tail, 0, s.images), nullptr, true);
    return taken;
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

// way: 0 the cheaper, 1 event-driven, 2 dense. Returns the way taken, of several parts the last one's.
int64_t spikedet_convolve_float(const Steps* s, const Convolution* c) {
    return guarded([=] { return convolve<float>(*s, *c, 1); });
}
int64_t spikedet_convolve_int8(const Steps* s, const Convolution* c, int64_t way) {
    return guarded([=] { return convolve<int8_t>(*s, *c, int(way)); });
}

void spikedet_neurons(const Steps* layer, const float* v, int64_t constant) { drive(*layer, v, constant); }

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

// sums[place][channel] = value[p] of the set bits p of the channel, added; bits [places][bytes], index and value [8 bytes].
void spikedet_sum(const uint8_t* bits, int64_t places, int64_t bytes, const int64_t* index, const float* value,
                  int64_t channels, float* sums) {
#pragma omp parallel for schedule(static)
    for (int64_t place = 0; place < places; place++) {
        float* to = sums + place * channels;
        std::fill(to, to + channels, 0.0f);
        for (int64_t i = 0; i < bytes; i++)
            for (unsigned m = bits[place * bytes + i]; m; m &= m - 1) {
                const int64_t p = 8 * i + __builtin_ctz(m);
                to[index[p]] += value[p];
            }
    }
}

}  // extern "C"
