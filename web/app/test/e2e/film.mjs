// The film that Chromium shows in place of a camera, and photographs of codes on somebody's screen.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { decodeQR } from 'qr/decode.js';
import { encode } from 'uqr';

const [width, height] = [640, 480];

/** One picture: a code, or plain grey. */
function picture(text) {
  const luma = Buffer.alloc(width * height, 200);
  if (text) {
    const code = encode(text, { ecc: 'M', border: 4 });
    const scale = Math.floor(height / code.size);
    const [left, top] = [Math.floor((width - code.size * scale) / 2), Math.floor((height - code.size * scale) / 2)];
    for (let y = 0; y < code.size * scale; y++) {
      for (let x = 0; x < code.size * scale; x++) luma[(top + y) * width + left + x] = code.data[Math.floor(y / scale)][Math.floor(x / scale)] ? 16 : 235;
    }
  }
  return Buffer.concat([Buffer.from('FRAME\n'), luma, Buffer.alloc((width * height) / 2, 128)]);
}

export class Film {
  constructor(world) {
    this.dir = world.dir;
    this.file = path.join(world.dir, 'film.y4m');
    this.show();
  }

  /** For `world.browser`. */
  get flags() {
    return [`--use-file-for-fake-video-capture=${this.file}`];
  }

  /** What is before the camera when it is switched on next: these codes, one after the other and again, or nothing. */
  show(...texts) {
    const pictures = (texts.length ? texts : ['']).map(picture);
    // Each stays for a second, which a busy machine needs to read it.
    const second = pictures.length > 1 ? 10 : 1;
    writeFileSync(this.file, Buffer.concat([Buffer.from(`YUV4MPEG2 W${width} H${height} F10:1 Ip A1:1 C420jpeg\n`), ...pictures.flatMap((p) => Array(second).fill(p))]));
  }

  /** The code on somebody's screen, as a photograph of it. */
  async photograph({ page }, name) {
    const file = path.join(this.dir, name);
    await page.locator('svg.qr').screenshot({ path: file });
    return file;
  }

  /** What a photograph says, by the decoder of the app. A page draws it. */
  async read(file, { page }) {
    const pixels = await page.evaluate(async (base64) => {
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const drawn = await createImageBitmap(new Blob([bytes]));
      const canvas = new OffscreenCanvas(drawn.width, drawn.height);
      const context = canvas.getContext('2d');
      context.drawImage(drawn, 0, 0);
      return { width: drawn.width, height: drawn.height, data: [...context.getImageData(0, 0, drawn.width, drawn.height).data] };
    }, readFileSync(file).toString('base64'));
    return decodeQR({ ...pixels, data: Uint8ClampedArray.from(pixels.data) });
  }
}
