/*
 * hash.h: a quick hash of bytes and the mixing of seeds
 */
#ifndef TM_BASE_HASH_H
#define TM_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The finalizer of splitmix64 (Steele, Lea and Flood, "Fast splittable
   pseudorandom number generators", OOPSLA 2014): a bijection in which each
   bit of the answer depends on each bit of x. */
static inline uint64_t tm__mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/* The next number of a splitmix64 sequence. */
static inline uint64_t tm__splitmix64(uint64_t *state) {
  *state += 0x9e3779b97f4a7c15u;
  return tm__mix64(*state);
}

/* 64 bits of n bytes, the same in every process of one machine. Not for
   bytes that an enemy chose. */
static inline uint64_t tm__hash(const void *bytes, size_t n) {
  const unsigned char *p = bytes;
  uint64_t h = n * 0x9e3779b97f4a7c15u, word;
  for (; n >= 8; p += 8, n -= 8) {
    memcpy(&word, p, 8);
    h = (h ^ word) * 0x9fb21c651e98df25u;
    h ^= h >> 32;
  }
  word = 0;
  memcpy(&word, p, n);
  return tm__mix64(h ^ word);
}

#endif
