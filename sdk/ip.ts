// Addresses are two halves of 64 bits. An IPv4 address is stored in its IPv4-mapped form (::ffff:0:0/96, RFC 4291 section
// 2.5.5.2), so that a client has the same address on IPv4 and dual-stack sockets.

const MAPPED: u64 = 0xffff00000000;

// The result of the last parse, in globals to avoid an allocation.
let high: u64 = 0;
let low: u64 = 0;

/** An IPv4 or IPv6 address. */
// @ts-ignore: decorator
@final
export class IpAddress {
  constructor(
    /** The upper 64 bits; 0 for an IPv4 address. */
    readonly high: u64,
    /** The lower 64 bits. */
    readonly low: u64,
  ) {}

  /**
   * Parses an address; null if it is invalid: `192.0.2.1`, without leading zeros, or `2001:db8::1` (RFC 4291 section 2.2). An
   * IPv4-mapped address (`::ffff:192.0.2.1`) becomes IPv4. Zones (`%eth0`) are not accepted.
   */
  static parse(text: string): IpAddress | null {
    return parseIp(text, 0, text.length) ? new IpAddress(high, low) : null;
  }

  /** Whether it is an IPv4 address. */
  get isV4(): bool {
    return this.high == 0 && this.low >> 32 == 0xffff;
  }

  /**
   * The network address: the first `v4` bits of an IPv4 address (of 32), or the first `v6` bits of an IPv6 address (of 128).
   * To count clients use `network(32, 64)`, since an IPv6 client usually has a whole /64.
   */
  network(v4: i32, v6: i32): IpAddress {
    const bits = this.isV4 ? 96 + v4 : v6;
    return new IpAddress(this.high & highMask(bits), this.low & lowMask(bits));
  }

  /** `192.0.2.1`, or IPv6 in the canonical form (RFC 5952). */
  toString(): string {
    if (this.isV4) {
      const bits = <u32>this.low;
      return `${bits >> 24}.${(bits >> 16) & 255}.${(bits >> 8) & 255}.${bits & 255}`;
    }
    // `::` replaces the longest run of two or more zero groups, the first one if there are several.
    let run = -1;
    let longest = 1;
    for (let i = 0; i < 8; i++) {
      let end = i;
      while (end < 8 && this.group(end) == 0) end++;
      if (end - i > longest) {
        longest = end - i;
        run = i;
      }
      if (end > i) i = end;
    }
    let text = "";
    for (let i = 0; i < 8; i++) {
      if (i == run) {
        text += "::";
        i += longest - 1;
        continue;
      }
      if (i && !text.endsWith(":")) text += ":";
      text += this.group(i).toString(16);
    }
    return text;
  }

  private group(index: i32): u32 {
    const half = index < 4 ? this.high : this.low;
    return <u32>((half >> <u64>(48 - 16 * (index & 3))) & 0xffff);
  }
}

/**
 * A set of addresses, built from networks (`10.0.0.0/8`, `2001:db8::/32`) and addresses. Create it at the top of the file or
 * in `configure`. A lookup is a binary search and allocates nothing.
 */
// @ts-ignore: decorator
@final
export class IpSet {
  /** Disjoint ranges in ascending order: each the two halves of its first and of its last address. */
  private ranges: u64[] = [];

  /** Adds a network or an address; false if the text is invalid. Bits after the prefix must be zero. */
  add(text: string): bool {
    const slash = text.indexOf("/");
    const end = slash < 0 ? text.length : slash;
    if (!parseIp(text, 0, end)) return false;
    const v4 = text.lastIndexOf(":", end) < 0;
    let bits = 128;
    if (slash >= 0) {
      const prefix = numberAt(text, slash + 1, text.length);
      if (prefix < 0 || prefix > (v4 ? 32 : 128)) return false;
      bits = v4 ? 96 + prefix : prefix;
    }
    if ((high & ~highMask(bits)) | (low & ~lowMask(bits))) return false;
    this.insert(high, low, high | ~highMask(bits), low | ~lowMask(bits));
    return true;
  }

  /** Whether the set is empty. */
  get isEmpty(): bool {
    return this.ranges.length == 0;
  }

  /** Whether the set contains this address; false if the text is not an address. */
  has(text: string): bool {
    return parseIp(text, 0, text.length) && this.covers(high, low);
  }

  /** Whether the set contains this address. */
  contains(address: IpAddress): bool {
    return this.covers(address.high, address.low);
  }

  private covers(h: u64, l: u64): bool {
    const at = 4 * this.find(h, l);
    return at < this.ranges.length && !isBefore(h, l, this.ranges[at], this.ranges[at + 1]);
  }

  /** Index of the first range that does not end before this address. */
  private find(h: u64, l: u64): i32 {
    let from = 0;
    let to = this.ranges.length >> 2;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (isBefore(this.ranges[4 * middle + 2], this.ranges[4 * middle + 3], h, l)) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** Inserts a range. Networks are nested or disjoint: the range is already covered, or replaces the ranges within it. */
  private insert(h: u64, l: u64, lastHigh: u64, lastLow: u64): void {
    const ranges = this.ranges;
    const count = ranges.length >> 2;
    const at = this.find(h, l);
    // Both ends must be in the same range: two ranges leave a gap.
    if (this.covers(h, l) && !isBefore(ranges[4 * at + 2], ranges[4 * at + 3], lastHigh, lastLow)) return;
    let end = at;
    while (end < count && !isBefore(lastHigh, lastLow, ranges[4 * end], ranges[4 * end + 1])) end++;
    ranges.length = 4 * max(count, count + 1 - (end - at));
    // Moves the following ranges to their new position.
    memory.copy(ranges.dataStart + 32 * (at + 1), ranges.dataStart + 32 * end, 32 * (count - end));
    ranges.length = 4 * (count + 1 - (end - at));
    ranges[4 * at] = h;
    ranges[4 * at + 1] = l;
    ranges[4 * at + 2] = lastHigh;
    ranges[4 * at + 3] = lastLow;
  }
}

function isBefore(h: u64, l: u64, otherHigh: u64, otherLow: u64): bool {
  return h == otherHigh ? l < otherLow : h < otherHigh;
}

function highMask(bits: i32): u64 {
  return bits <= 0 ? 0 : bits >= 64 ? u64.MAX_VALUE : ~(u64.MAX_VALUE >> <u64>bits);
}

function lowMask(bits: i32): u64 {
  return highMask(bits - 64);
}

/** A decimal number of one to three digits without leading zeros, or -1. */
function numberAt(text: string, start: i32, end: i32): i32 {
  if (start >= end || end - start > 3 || (text.charCodeAt(start) == 0x30 && end - start > 1)) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** Parses a part of a text into `high` and `low`. */
function parseIp(text: string, start: i32, end: i32): bool {
  for (let i = start; i < end; i++) {
    if (text.charCodeAt(i) == 0x3a) return parseIpv6(text, start, end);
  }
  const bits = parseIpv4(text, start, end);
  if (bits < 0) return false;
  high = 0;
  low = MAPPED | <u64>bits;
  return true;
}

/** The 32 bits of an IPv4 address, or -1. */
function parseIpv4(text: string, start: i32, end: i32): i64 {
  let bits: i64 = 0;
  let from = start;
  for (let part = 0; part < 4; part++) {
    let to = from;
    while (to < end && text.charCodeAt(to) != 0x2e) to++;
    const value = numberAt(text, from, to);
    // Exactly the fourth number must end the text.
    if (value < 0 || value > 255 || (to == end) != (part == 3)) return -1;
    bits = (bits << 8) | value;
    from = to + 1;
  }
  return bits;
}

/** Parses a part of a text as an IPv6 address into `high` and `low`; false if it is invalid. */
export function parseIpv6(text: string, start: i32, end: i32): bool {
  high = 0;
  low = 0;
  /** Number of groups so far, and before `::` (-1 without it). */
  let count = 0;
  let gap = -1;
  let at = start;
  if (at + 1 < end && text.charCodeAt(at) == 0x3a) {
    if (text.charCodeAt(at + 1) != 0x3a) return false;
    gap = 0;
    at += 2;
  }
  while (at < end) {
    let to = at;
    let value: u32 = 0;
    while (to < end && to - at < 5) {
      const digit = hexDigitAt(text, to);
      if (digit < 0) break;
      value = (value << 4) | digit;
      to++;
    }
    if (to < end && text.charCodeAt(to) == 0x2e) {
      const bits = parseIpv4(text, at, end);
      if (bits < 0 || count > 6) return false;
      push(<u32>(bits >> 16));
      push(<u32>bits & 0xffff);
      count += 2;
      at = end;
      break;
    }
    if (to == at || to - at > 4 || count == 8) return false;
    push(value);
    count++;
    at = to;
    if (at == end) break;
    if (text.charCodeAt(at++) != 0x3a || at == end) return false;
    if (text.charCodeAt(at) != 0x3a) continue;
    if (gap >= 0) return false;
    gap = count;
    at++;
  }
  if (gap < 0) return count == 8;
  return count < 8 && spread(count, gap);
}

function hexDigitAt(text: string, at: i32): i32 {
  const unit = text.charCodeAt(at);
  if (unit >= 48 && unit <= 57) return unit - 48;
  const lower = unit | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

function push(group: u32): void {
  high = (high << 16) | (low >> 48);
  low = (low << 16) | group;
}

/** Expands `::` after `gap` groups: moves the others to the end. */
function spread(count: i32, gap: i32): bool {
  const tail = count - gap;
  const tailHigh = high & highPart(tail);
  const tailLow = low & lowPart(tail);
  let h = high & ~tailHigh;
  let l = low & ~tailLow;
  for (let i = count; i < 8; i++) {
    h = (h << 16) | (l >> 48);
    l <<= 16;
  }
  high = h | tailHigh;
  low = l | tailLow;
  return true;
}

/** Masks of the last `groups` groups. */
function highPart(groups: i32): u64 {
  return groups <= 4 ? 0 : ~highMask(16 * (8 - groups));
}

function lowPart(groups: i32): u64 {
  return groups >= 4 ? u64.MAX_VALUE : ~highMask(16 * (4 - groups));
}
