/** What the tests use of `@grpc/grpc-js`, so that they can be checked without its declarations. */
declare module "@grpc/grpc-js" {
  import type { Duplex, Readable, Writable } from "node:stream";

  type Serialize = (bytes: Buffer) => Buffer;
  type CallOptions = { deadline?: Date | number };
  type Done = (error: ServiceError | null, response?: Buffer) => void;

  export const status: { readonly [name: string]: number };
  export const compressionAlgorithms: { readonly gzip: number };
  export const credentials: { createInsecure(): object };
  export class ServerCredentials {
    static createInsecure(): ServerCredentials;
  }
  export type ChannelOptions = Record<string, number | string>;
  export type StatusObject = { code: number; details: string; metadata: Metadata };
  export type ServiceError = StatusObject & Error;

  export class Metadata {
    get(key: string): (string | Buffer)[];
    set(key: string, value: string | Buffer): void;
    add(key: string, value: string | Buffer): void;
  }

  interface ServerCall {
    readonly metadata: Metadata;
    getDeadline(): Date | number;
    sendMetadata(headers: Metadata): void;
  }
  export type ServerUnaryCall<Request, _Response> = NodeJS.EventEmitter & ServerCall & { readonly request: Request };
  export type ServerWritableStream<Request, _Response> = Writable & ServerCall & { readonly request: Request };
  export type ServerReadableStream<_Request, _Response> = Readable & ServerCall;
  export type ServerDuplexStream<_Request, _Response> = Duplex & ServerCall;
  export type sendUnaryData<Response> = (
    error: { code: number; details?: string; metadata?: Metadata } | null,
    value?: Response,
    trailers?: Metadata,
  ) => void;

  export type MethodDefinition<_Request, _Response> = {
    path: string;
    requestStream: boolean;
    responseStream: boolean;
    requestSerialize: Serialize;
    requestDeserialize: Serialize;
    responseSerialize: Serialize;
    responseDeserialize: Serialize;
  };
  export type ServiceDefinition = Record<string, MethodDefinition<Buffer, Buffer>>;
  // biome-ignore lint/suspicious/noExplicitAny: handlers of each kind of method
  export type UntypedServiceImplementation = Record<string, (...call: any) => void>;

  export class Server {
    constructor(options?: ChannelOptions);
    addService(service: ServiceDefinition, implementation: UntypedServiceImplementation): void;
    bindAsync(address: string, by: ServerCredentials, done: (error: Error | null, port: number) => void): void;
    forceShutdown(): void;
    tryShutdown(done: (error?: Error) => void): void;
  }

  interface ClientCall {
    cancel(): void;
  }
  export class Client {
    constructor(address: string, by: object, options?: ChannelOptions);
    close(): void;
    makeUnaryRequest(
      method: string,
      serialize: Serialize,
      deserialize: Serialize,
      request: Buffer,
      metadata: Metadata,
      options: CallOptions,
      done: Done,
    ): NodeJS.EventEmitter & ClientCall;
    makeServerStreamRequest(
      method: string,
      serialize: Serialize,
      deserialize: Serialize,
      request: Buffer,
      options?: CallOptions,
    ): Readable & ClientCall;
    makeClientStreamRequest(
      method: string,
      serialize: Serialize,
      deserialize: Serialize,
      done: Done,
    ): Writable & ClientCall;
    makeBidiStreamRequest(method: string, serialize: Serialize, deserialize: Serialize): Duplex & ClientCall;
  }
}
