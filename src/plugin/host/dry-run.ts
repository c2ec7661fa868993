/**
 * Where guests run of which nothing is seen outside: fresh ones, with counters that nobody reads and no log. A version is
 * tried there before it serves (`canary.ts`), and requests are explained there (`worker/dry-run.ts`).
 */

import { STATUS } from "../../abi/abi.ts";
import { Head } from "../../http/head.ts";
import { scanResponse } from "../../http1/scan.ts";
import { BLOCK_CELLS } from "../../observe/series.ts";
import type { KeyValue } from "../../state/key-value.ts";
import type { Fetcher } from "./fetcher.ts";
import { PluginHost } from "./host.ts";
import { Overlay } from "./overlay.ts";

const DRY_RUN = Buffer.from("dry run");

export type SandboxedHostOptions = {
  /** The store that is read, and one of its kind that takes what is written. Without them guests can only start. */
  readonly keyValue?: { readonly below: KeyValue; readonly own: KeyValue };
};

export function makeSandboxedHost({ keyValue }: SandboxedHostOptions = {}): PluginHost {
  const store = keyValue === undefined ? {} : { keyValue: new Overlay(keyValue.below, keyValue.own) };
  return new PluginHost({ cells: new Float64Array(BLOCK_CELLS), report: () => undefined, ...store });
}

/** Answers every request of a plugin's own with that status, and sends nothing. */
export function makeDryFetcher(status: number): Fetcher {
  const head = new Head();
  const text = Buffer.from(`HTTP/1.1 ${status} \r\ncontent-type: text/plain\r\nx-sluice-dry-run: 1\r\n\r\n`);
  scanResponse(text, 0, text.length, head, false);
  return {
    send(_request, done) {
      const timer = setImmediate(() => done({ head, body: DRY_RUN }));
      return () => clearImmediate(timer);
    },
    // No request comes to a check.
    probe(_request, done) {
      done(STATUS.unreachable);
      return () => {};
    },
  };
}
