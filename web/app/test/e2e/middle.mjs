// A node that lies, or whoever stands before it: bytes between browsers and a node are handed on, and the messages on a link
// as the test wants them.
import net from 'node:net';
import { frames, upgraded } from './capture.mjs';

const asItIs = (message) => message;

/** Listens before the node at `to`, which may become another one. What toNode and fromNode return of a message goes on. */
export async function middle(to) {
  const sockets = new Set();
  const between = { to, toNode: asItIs, fromNode: asItIs };
  const server = net.createServer((browser) => {
    const { hostname, port } = new URL(between.to);
    const node = net.connect(Number(port), hostname);
    handOn(browser, node, true, (message) => between.toNode(message));
    handOn(node, browser, false, (message) => between.fromNode(message));
    for (const [one, other] of [[browser, node], [node, browser]]) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(between, {
    host: `127.0.0.1:${server.address().port}`,
    honest: () => Object.assign(between, { to, toNode: asItIs, fromNode: asItIs }),
    /** Ends every connection; what comes anew goes to the node of now. */
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    stop: () => {
      between.cut();
      return new Promise((resolve) => server.close(resolve));
    },
  });
}

function handOn(from, to, masked, change) {
  let kept = Buffer.alloc(0);
  let link; // whether it is one; unknown until the head of the first request is there
  let parts = [];
  from.on('data', (bytes) => {
    if (link === false) return to.write(bytes);
    kept = Buffer.concat([kept, bytes]);
    if (link === undefined) {
      const end = kept.indexOf('\r\n\r\n') + 4;
      if (end < 4) return;
      const rest = upgraded(kept);
      link = rest !== null;
      to.write(link ? kept.subarray(0, end) : kept);
      if (!link) return;
      kept = rest;
    }
    let read = 0;
    for (const { first, content, end } of frames(kept)) {
      read = end;
      if ((first & 0x0f) > 2) {
        to.write(frame(first, content, masked));
        continue;
      }
      parts.push(content);
      if (!(first & 0x80)) continue;
      to.write(frame(0x82, change(Buffer.concat(parts)), masked));
      parts = [];
    }
    kept = kept.subarray(read);
  });
}

/** A frame of RFC 6455, section 5.2. A browser's has a mask; this one changes nothing. */
function frame(first, content, masked) {
  const size = content.length;
  const mask = masked ? 0x80 : 0;
  const head = Buffer.alloc(size < 126 ? 2 : size < 1 << 16 ? 4 : 10);
  head[0] = first;
  head[1] = mask | (head.length === 2 ? size : head.length === 4 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(size, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(size), 2);
  return Buffer.concat([head, Buffer.alloc(masked ? 4 : 0), content]);
}
