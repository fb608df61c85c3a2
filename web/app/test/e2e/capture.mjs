// A capture in front of a node: what arrives on its socket and leaves it, byte for byte, and the WebSocket frames in it.
import net from 'node:net';

/** Listens, hands every byte on to a node and back, and keeps a copy of both directions. */
export async function capture(origin) {
  const { hostname, port } = new URL(origin);
  const connections = [];
  const sockets = new Set();
  const server = net.createServer((client) => {
    const node = net.connect(Number(port), hostname);
    const kept = { toNode: [], fromNode: [] };
    connections.push(kept);
    client.on('data', (bytes) => kept.toNode.push(bytes));
    node.on('data', (bytes) => kept.fromNode.push(bytes));
    client.pipe(node).pipe(client);
    for (const [one, other] of [[client, node], [node, client]]) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${server.address().port}`,
    /** Contents of all messages of WebSockets so far. */
    messages: () => {
      const out = { toNode: [], fromNode: [] };
      for (const kept of connections) {
        for (const way of ['toNode', 'fromNode']) {
          const rest = upgraded(Buffer.concat(kept[way]));
          if (rest) out[way].push(...messages(rest));
        }
      }
      return out;
    },
    stop: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What follows the head of a request or answer that became a WebSocket. */
export function upgraded(bytes) {
  const end = bytes.indexOf('\r\n\r\n');
  return end >= 0 && /^upgrade: websocket\r?$/im.test(bytes.subarray(0, end).toString('latin1')) ? bytes.subarray(end + 4) : null;
}

/** Contents of the messages in a stream of WebSocket frames. */
function messages(bytes) {
  const out = [];
  let parts = [];
  for (const { first, content } of frames(bytes)) {
    if ((first & 0x0f) > 2) continue; // ping, pong, close
    parts.push(content);
    if (first & 0x80) {
      out.push(Buffer.concat(parts));
      parts = [];
    }
  }
  return out;
}

/** The whole frames at the beginning of a stream (RFC 6455, section 5.2), unmasked, and where each ends. */
export function* frames(bytes) {
  for (let at = 0; at + 2 <= bytes.length; ) {
    const [first, second] = bytes.subarray(at);
    if (first & 0x70) throw new Error('an extension changes what is on the wire');
    let size = second & 0x7f;
    at += 2;
    if (size === 126) {
      if (at + 2 > bytes.length) return;
      size = bytes.readUInt16BE(at);
      at += 2;
    } else if (size === 127) {
      if (at + 8 > bytes.length) return;
      size = Number(bytes.readBigUInt64BE(at));
      at += 8;
    }
    const mask = second & 0x80 ? bytes.subarray(at, at + 4) : null;
    if (mask) at += 4;
    if (at + size > bytes.length) return;
    const content = Buffer.from(bytes.subarray(at, at + size));
    at += size;
    if (mask) for (let i = 0; i < content.length; i++) content[i] ^= mask[i & 3];
    yield { first, content, end: at };
  }
}
