/*
 * A filter in C without a library. Sets the header `x-edition` to the value of the client's `x-wants`, or to that of the
 * configuration. Responds to /edition itself.
 */
#include "sluice.h"

SLUICE_MODULE

#define NAME_LIMIT 32

/* One guest serves one configuration, so it can be stored in a global. */
static char fallback[NAME_LIMIT];
static int32_t fallback_length;

/* A length above the capacity means that nothing was written; it does not equal any other text. */
static int equals(const char *text, int32_t length, const char *other, int32_t other_length) {
  if (length != other_length) return 0;
  for (int32_t i = 0; i < length; i++)
    if (text[i] != other[i]) return 0;
  return 1;
}

static int is_name(const char *text, int32_t length) {
  if (length <= 0 || length > NAME_LIMIT) return 0;
  for (int32_t i = 0; i < length; i++)
    if (text[i] < 'a' || text[i] > 'z') return 0;
  return 1;
}

SLUICE_ON_CONFIGURE(instance, exchange) {
  fallback_length = sluice_config_get(SLUICE_TEXT("edition"), fallback, sizeof fallback);
  /* An invalid value rejects the configuration. */
  return is_name(fallback, fallback_length) ? SLUICE_RESULT_CONTINUE : SLUICE_RESULT_REJECT;
}

SLUICE_ON_REQUEST_HEAD(instance, exchange) {
  char wanted[NAME_LIMIT];
  int32_t length = sluice_header_get(SLUICE_HEADERS_REQUEST, SLUICE_TEXT("x-wants"), 0, wanted, sizeof wanted);
  const char *edition = wanted;
  if (!is_name(wanted, length)) {
    edition = fallback;
    length = fallback_length;
  }

  char path[64];
  int32_t path_length = sluice_attribute(SLUICE_ATTRIBUTE_PATH, path, sizeof path);
  if (equals(path, path_length, SLUICE_TEXT("/edition"))) {
    sluice_respond(200, edition, length);
    sluice_header_set(SLUICE_HEADERS_RESPONSE, SLUICE_TEXT("content-type"), SLUICE_TEXT("text/plain"));
    return SLUICE_RESULT_RESPOND;
  }

  sluice_header_set(SLUICE_HEADERS_REQUEST, SLUICE_TEXT("x-edition"), edition, length);
  sluice_header_remove(SLUICE_HEADERS_REQUEST, SLUICE_TEXT("x-wants"));
  return SLUICE_RESULT_CONTINUE;
}
