/** Invalid arguments: exit code 64 and a reference to the help. */
export class UsageError extends Error {}

/** `EX_USAGE` of sysexits.h. */
export const EXIT_USAGE = 64;
