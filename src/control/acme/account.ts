/** The account at one ACME server: its key, made once and kept on disk, and the client that uses it. */
import { createPrivateKey } from "node:crypto";
import { makeKey, pemOfKey } from "../../net/acme/certificates.ts";
import type { ExternalAccount } from "../../net/acme/jws.ts";
import type { Log } from "../../observe/log.ts";
import { AcmeClient } from "./client.ts";
import type { AcmeError } from "./problem.ts";
import type { AccountFile, SavedAccount } from "./storage.ts";

export type AccountOptions = {
  readonly directory: string;
  readonly ca: readonly string[];
  readonly contact: readonly string[];
  /** Null: none is needed. */
  readonly external: ExternalAccount | null;
  readonly file: AccountFile;
  readonly log: Pick<Log, "info">;
  readonly signal: AbortSignal;
};

export class Account {
  readonly options: AccountOptions;
  /** Shared by concurrent orders; null: not opened, or the last attempt failed. */
  #client: Promise<AcmeClient> | null = null;

  constructor(options: AccountOptions) {
    this.options = options;
  }

  /** Runs `use` with the registered account; registers again if the server does not know it any more. */
  async run<T>(use: (client: AcmeClient) => Promise<T>): Promise<T> {
    const opened = await this.open();
    try {
      return await use(opened);
    } catch (error) {
      if ((error as AcmeError).type !== "accountDoesNotExist") throw error;
    }
    // Of concurrent orders the first one registers.
    if (this.#client !== null && (await this.#client) === opened) this.#client = null;
    this.#client ??= this.#keep(this.#register(opened));
    return use(await this.#client);
  }

  open(): Promise<AcmeClient> {
    this.#client ??= this.#keep(this.#open());
    return this.#client;
  }

  #keep(opening: Promise<AcmeClient>): Promise<AcmeClient> {
    opening.catch(() => {
      if (this.#client === opening) this.#client = null;
    });
    return opening;
  }

  async #open(): Promise<AcmeClient> {
    const { file, signal } = this.options;
    const release = await file.lock(signal);
    return this.#openLocked().finally(release);
  }

  async #openLocked(): Promise<AcmeClient> {
    const { directory, ca, contact, external, file, signal } = this.options;
    const externalKey = external?.keyId ?? "";
    let saved = await file.read();
    // A key has one account, and that one external account.
    if (saved === null || saved.externalKey !== externalKey) {
      // Saved before it is registered: a crash between both must not lose the account.
      saved = { key: pemOfKey(makeKey()), url: "", contact: [], externalKey };
      await file.write(saved);
    }
    const key = createPrivateKey(saved.key);
    const client = new AcmeClient({ directory, ca, key, signal, account: saved.url === "" ? null : saved.url });
    if (saved.url === "") return this.#register(client);
    if (JSON.stringify(contact) === JSON.stringify(saved.contact)) return client;
    await client.updateContact(contact).catch((error: AcmeError) => {
      if (error.type !== "accountDoesNotExist") throw error;
    });
    await file.write({ ...saved, contact });
    return client;
  }

  async #register(client: AcmeClient): Promise<AcmeClient> {
    const { contact, external, file, directory, log } = this.options;
    const { account, terms } = await client.register(contact, external);
    const externalKey = external?.keyId ?? "";
    const saved: SavedAccount = { key: pemOfKey(client.key), url: account, contact, externalKey };
    await file.write(saved);
    log.info({ directory, account, terms }, "ACME account registered");
    return client;
  }
}
