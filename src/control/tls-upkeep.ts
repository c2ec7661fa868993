/** Hourly work for TLS: a new key for session tickets, and warnings of certificates and revocation lists that expire. */

import type { CertificateStatus, RevocationListStatus } from "../admin/api.ts";
import { ROTATE_EVERY, type TicketKeys } from "../net/ticket-keys.ts";
import type { Log } from "../observe/log.ts";
import type { CertificateInfo, RevocationListInfo } from "../plan/tls-files.ts";

/** Days before expiry at which a warning is logged; 0: expired. */
const WARN_AT = [30, 14, 7, 1, 0] as const;
const DAY = 86_400_000;
const WARNINGS = { 30: "30 days", 14: "14 days", 7: "7 days", 1: "1 day", 0: "expired" } as const;

export class TlsUpkeep {
  readonly #keys: TicketKeys;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;
  #certificates: readonly CertificateInfo[] = [];
  #lists: readonly RevocationListInfo[] = [];
  /** The last warning of each certificate: one of WARN_AT. */
  #warned = new Map<string, number>();
  /** The expired lists that were logged. */
  #reported = new Set<string>();

  constructor(keys: TicketKeys, log: Log, now: () => number = Date.now) {
    this.#keys = keys;
    this.#log = log;
    this.#now = now;
    this.#timer = setInterval(() => {
      this.#keys.rotate();
      this.check();
    }, ROTATE_EVERY).unref();
  }

  /** Those of the version in service. */
  get certificates(): readonly CertificateInfo[] {
    return this.#certificates;
  }

  /** Those of the version in service with their remaining lifetime, and the given state of OCSP stapling. */
  describe(ocsp: (certificate: CertificateInfo) => CertificateStatus["ocsp"]): CertificateStatus[] {
    const now = this.#now();
    return this.#certificates.map((certificate) => {
      const { listener, file, names, expires } = certificate;
      const { days, limit } = lifetimeOf(certificate, now);
      const warning = limit === undefined ? null : WARNINGS[limit];
      return {
        listener,
        file,
        names,
        expires: new Date(expires).toISOString(),
        days,
        warning,
        ocsp: ocsp(certificate),
      };
    });
  }

  /** The lists of the version in service that have expired: all certificates of their authorities are rejected. */
  expiredLists(): RevocationListStatus[] {
    return this.#lists
      .filter(({ expires }) => expires < this.#now())
      .map((list) => ({ ...list, expires: new Date(list.expires).toISOString() }));
  }

  /** A version with these certificates and revocation lists serves. */
  take(certificates: readonly CertificateInfo[], lists: readonly RevocationListInfo[]): void {
    this.#certificates = certificates;
    this.#lists = lists;
    const warned = new Map<string, number>();
    for (const certificate of certificates) {
      const before = this.#warned.get(idOf(certificate));
      if (before !== undefined) warned.set(idOf(certificate), before);
    }
    this.#warned = warned;
    this.check();
  }

  /** Logs each certificate that has reached the next limit, and each list that has expired. */
  check(): void {
    for (const certificate of this.#certificates) {
      const { listener, file, names, expires } = certificate;
      const { days, limit } = lifetimeOf(certificate, this.#now());
      if (limit === undefined || limit >= (this.#warned.get(idOf(certificate)) ?? Number.POSITIVE_INFINITY)) continue;
      this.#warned.set(idOf(certificate), limit);
      const fields = { listener, file, names, expires: new Date(expires).toISOString(), days };
      this.#log.warn(fields, limit === 0 ? "certificate has expired" : "certificate expires soon");
    }
    const before = this.#reported;
    this.#reported = new Set();
    for (const list of this.expiredLists()) {
      const id = `${list.usedBy} ${list.file} ${list.expires}`;
      this.#reported.add(id);
      if (before.has(id)) continue;
      this.#log.warn(list, "certificate revocation list has expired: all certificates of its authority are rejected");
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

/** Whole days until expiry, and the last limit that was reached. */
function lifetimeOf({ expires, renewedAt }: CertificateInfo, now: number) {
  const left = (expires - now) / DAY;
  // A certificate that the proxy renews is late only some time after its renewal was due.
  const isLate = renewedAt === 0 || left < 0.8 * renewedAt;
  return { days: Math.trunc(left), limit: isLate ? WARN_AT.findLast((days) => left <= days) : undefined };
}

/** Another certificate in the same file expires at another time. */
function idOf({ listener, file, expires }: CertificateInfo): string {
  return `${listener} ${file} ${expires}`;
}
