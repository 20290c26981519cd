// Vectors of 16 lanes, in GCC's own notation: the compiler makes of them what the processor has.
#pragma once

#include <cstdint>
#include <cstring>

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
