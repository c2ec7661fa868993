/** The command line was not understood: exit 64, with a pointer to the help. */
export class UsageError extends Error {}

/** `EX_USAGE` of sysexits.h. */
export const EXIT_USAGE = 64;
