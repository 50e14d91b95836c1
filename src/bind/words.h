/*
 * words.h: short strings that a message says again, by number
 *
 * The keys of records come again and again. Lua keeps one copy of a short
 * string, so its address tells it: a string that is met a second time in a
 * message is given a number, and from then on the number is written. The
 * reader keeps numbered strings at hand and need not hash them.
 *
 * A string may be collected while a message is written (user code takes part)
 * and another take its address: so the bytes are compared, where they were
 * written. When too many were met, all are forgotten and numbers begin anew:
 * the reader, who does as it is told, overwrites what it had.
 */
#ifndef TM_BIND_WORDS_H
#define TM_BIND_WORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
  TM__WORD_LONGEST = 40, /* Lua's own limit of short strings (llimits.h) */
  TM__WORD_SLOTS = 512,
  TM__WORD_MOST = 255 /* met in one epoch; numbers are a byte, from 1 */
};

typedef struct tm__word {
  const char *text;
  uint32_t at;    /* where its bytes are, from the origin of the message */
  uint16_t epoch; /* older ones count as free */
  uint8_t len;
  uint8_t number; /* 0: it was met once */
} tm__word;

/* Open addressing, at most half full. */
typedef struct tm__words {
  uint16_t epoch;
  int met, numbered;
  tm__word slots[TM__WORD_SLOTS];
} tm__words;

/* A new message, or a part of one that must be readable alone. */
static inline void tm__words_clear(tm__words *w) {
  if (!w->met && w->epoch) return;
  w->met = w->numbered = 0;
  if (++w->epoch) return;
  memset(w->slots, 0, sizeof w->slots);
  w->epoch = 1;
}

/* The string's slot; its epoch is an older one when it was not met. */
static inline tm__word *tm__words_find(tm__words *w, const char *text,
                                       size_t len,
                                       const unsigned char *origin) {
  uintptr_t hash = (uintptr_t)text >> 4;
  size_t i = (hash ^ hash >> 8) % TM__WORD_SLOTS;
  for (;; i = (i + 1) % TM__WORD_SLOTS) {
    tm__word *word = &w->slots[i];
    if (word->epoch != w->epoch) return word;
    if (word->text == text && word->len == len &&
        memcmp(origin + word->at, text, len) == 0)
      return word;
  }
}

/* A string was met for the first time, in a slot that find gave. */
static inline void tm__words_meet(tm__words *w, tm__word *word,
                                  const char *text, size_t len, uint64_t at) {
  if (at > UINT32_MAX) return;
  *word = (tm__word){
      .text = text, .at = (uint32_t)at, .epoch = w->epoch, .len = (uint8_t)len};
  if (++w->met > TM__WORD_MOST) tm__words_clear(w);
}

#endif
