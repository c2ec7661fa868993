/** UDP sockets. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";

/** `host`: numeric, or "" for all interfaces. `reusePort`: the system distributes clients over several sockets. */
export type UdpPlace = { readonly host: string; readonly port: number; readonly reusePort: boolean };

/** Bytes that the kernel keeps of received datagrams while the worker is busy. */
const RECEIVE_BUFFER = 1024 * 1024;

/** Addresses are numeric: without this, `send` would defer each datagram to a lookup. */
function keepAddress(
  address: string,
  _options: unknown,
  done: (error: Error | null, address: string, family: number) => void,
): void {
  done(null, address, isIPv6(address) ? 6 : 4);
}

/** Binds a socket. @throws Error, with a code of the system */
export async function bindUdp({ host, port, reusePort }: UdpPlace): Promise<Socket> {
  if (host !== "") return bind(host, port, reusePort);
  try {
    // Dual stack: `::` receives IPv4 too.
    return await bind("::", port, reusePort);
  } catch (error) {
    if (["EADDRINUSE", "EACCES", "ENOTSUP"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    return bind("0.0.0.0", port, reusePort);
  }
}

async function bind(address: string, port: number, reusePort: boolean): Promise<Socket> {
  const socket = createSocket({ type: isIPv6(address) ? "udp6" : "udp4", reusePort, lookup: keepAddress });
  try {
    // Rejects at the event `error`. With a numeric address either event is emitted before `bind` returns.
    const listening = once(socket, "listening");
    socket.bind({ address, port });
    await listening;
  } catch (error) {
    socket.close();
    throw error;
  }
  try {
    socket.setRecvBufferSize(RECEIVE_BUFFER);
  } catch {
    // The system's limit is lower: its own size stays.
  }
  return socket;
}

/** A socket for datagrams of one address only; the caller connects it. */
export function makeUdpClient(host: string): Socket {
  return createSocket({ type: isIPv6(host) ? "udp6" : "udp4", lookup: keepAddress });
}

/** How many files and sockets this process may have open. */
export function openFilesLimit(): number {
  const { report } = process;
  // Otherwise it would list the addresses of all interfaces.
  (report as { excludeNetwork?: boolean }).excludeNetwork = true;
  const { userLimits } = report.getReport() as { userLimits?: { open_files?: { soft: number | string } } };
  const limit = Number(userLimits?.open_files?.soft);
  return Number.isNaN(limit) ? Number.POSITIVE_INFINITY : limit;
}
