import type { Site, Work } from "./site.ts";

/** A proxy that runs and is measured. */
export type Subject = {
  readonly name: string;
  readonly port: number;
  /** Its port is for https. */
  readonly tls?: boolean | undefined;
  /** A port of the same server for HTTP/1, if the measured one has HTTP/2 only: responses are checked there. */
  readonly checkedPort?: number;
  /** The process whose time is counted. */
  readonly pid: number;
  close(): Promise<void>;
};

/** A proxy that can be started. */
export type Peer = {
  readonly name: string;
  readonly work: Work;
  start(site: Site): Promise<Subject>;
};
