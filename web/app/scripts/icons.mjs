// Draws the icons: an SVG by hand, and PNGs of it computed here, so that no tool and no font is
// needed and every byte is explained. Two people, one line between them, and a lock on the line.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { deflateSync } from 'node:zlib';

const out = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'public');
mkdirSync(out, { recursive: true });

const ground = [10, 102, 90];
const line = [255, 255, 255];
const spot = [165, 232, 220];

writeFileSync(
  path.join(out, 'icon.svg'),
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="#0a665a"/><path d="M18 32h28" stroke="#fff" stroke-width="6"/><circle cx="16" cy="32" r="8" fill="#fff"/><circle cx="48" cy="32" r="8" fill="#fff"/><circle cx="32" cy="32" r="9" fill="#0a665a"/><circle cx="32" cy="32" r="5.5" fill="#a5e8dc"/></svg>\n`,
);

// Distance to the shapes in the units of the SVG: negative is inside.
const circle = (x, y, cx, cy, r) => Math.hypot(x - cx, y - cy) - r;
const box = (x, y, cx, cy, w, h, r) => {
  const dx = Math.abs(x - cx) - w + r;
  const dy = Math.abs(y - cy) - h + r;
  return Math.hypot(Math.max(dx, 0), Math.max(dy, 0)) + Math.min(Math.max(dx, dy), 0) - r;
};

function pixel(x, y, maskable, unit) {
  const cover = (d) => Math.min(1, Math.max(0, 0.5 - d / unit));
  let color = [0, 0, 0];
  let alpha = 0;
  const paint = (c, a) => {
    color = color.map((v, i) => v * (1 - a) + c[i] * a);
    alpha = alpha + a - alpha * a;
  };
  if (maskable) paint(ground, 1);
  else paint(ground, cover(box(x, y, 32, 32, 32, 32, 14)));
  if (!maskable && alpha > 0) color = ground.slice();
  // Maskable icons keep everything inside the middle four fifths.
  const [u, v, k] = maskable ? [(x - 32) / 0.8 + 32, (y - 32) / 0.8 + 32, 0.8] : [x, y, 1];
  const c = (d) => cover(d * k);
  paint(line, c(box(u, v, 32, 32, 14, 3, 0)) * (alpha > 0 ? 1 : 0));
  paint(line, c(circle(u, v, 16, 32, 8)));
  paint(line, c(circle(u, v, 48, 32, 8)));
  paint(ground, c(circle(u, v, 32, 32, 9)));
  paint(spot, c(circle(u, v, 32, 32, 5.5)));
  return [...color.map(Math.round), Math.round(alpha * 255)];
}

function crc(bytes) {
  let c = ~0;
  for (const b of bytes) {
    c ^= b;
    for (let k = 0; k < 8; k++) c = (c >>> 1) ^ (0xedb88320 & -(c & 1));
  }
  return ~c >>> 0;
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'ascii'), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc(body), body.length + 4);
  return out;
}

function png(size, maskable) {
  const rows = Buffer.alloc(size * (size * 4 + 1));
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const p = pixel(((x + 0.5) * 64) / size, ((y + 0.5) * 64) / size, maskable, 64 / size);
      rows.set(p, y * (size * 4 + 1) + 1 + x * 4);
    }
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(size, 0);
  head.writeUInt32BE(size, 4);
  head.set([8, 6, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk('IHDR', head),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

writeFileSync(path.join(out, 'icon-192.png'), png(192, false));
writeFileSync(path.join(out, 'icon-512.png'), png(512, false));
writeFileSync(path.join(out, 'icon-maskable-512.png'), png(512, true));
