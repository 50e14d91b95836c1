/*
 * store.h: bytes in the global store, as C and Lua share them
 *
 * A value of kind TM__OBJECT begins with a byte that says what follows. Lua's
 * strings are raw, so that C reads what Lua stored and the other way round;
 * other objects are messages of the codec's.
 */
#ifndef TM_HOST_STORE_H
#define TM_HOST_STORE_H

enum tm__object_form {
  TM__FORM_MESSAGE, /* of the codec */
  TM__FORM_FAULT,   /* why it cannot be read by others, as a text */
  TM__FORM_RAW      /* a string */
};

#endif
