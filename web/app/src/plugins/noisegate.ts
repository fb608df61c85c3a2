// Takes wind, hum and the noise of a room out of a voice: what rumbles below voices is filtered, and where nobody speaks
// the rest is turned down. It learns how loud the room is by itself. Sums only; nothing is kept of what was heard.

/** Rumble, wind and handling are below it; voices begin above. */
const lowestHz = 90;
/** How quickly the power of the sound is followed. */
const followS = 0.02;
/** The room's own loudness is the quietest moment of so many slots of this length: longer than a person speaks without a breath. */
const slotS = 0.25;
const slots = 12;
/** A voice is louder than the room by this much: 9 dB. */
const overRoom = 8;
/** Quieter than this nothing is a voice: -66 dB. */
const quietest = 2.5e-7;
/** The gate stays open for so long behind the last voice, so that words keep their ends. */
const holdS = 0.3;
const openS = 0.004;
const closeS = 0.12;
/** What is left of the room while nobody speaks: -30 dB. Silence would sound like a broken line. */
const rest = 0.0316;

export class NoiseGate {
  private readonly rate: number;
  // A second-order high-pass (Butterworth), as the cookbook of Robert Bristow-Johnson has it.
  private readonly b0: number;
  private readonly a1: number;
  private readonly a2: number;
  private x1 = 0;
  private x2 = 0;
  private y1 = 0;
  private y2 = 0;
  private power = 0;
  private slot = Infinity;
  private left: number;
  private settling: number; // the power that is followed begins at nothing
  private readonly quiet: number[] = [];
  private hold = 0;
  private gain = 1;

  constructor(rate: number) {
    this.rate = rate;
    this.left = slotS * rate;
    this.settling = 5 * followS * rate;
    const w = (2 * Math.PI * lowestHz) / rate;
    const alpha = Math.sin(w) / Math.SQRT2;
    const a0 = 1 + alpha;
    this.b0 = (1 + Math.cos(w)) / 2 / a0;
    this.a1 = (-2 * Math.cos(w)) / a0;
    this.a2 = (1 - alpha) / a0;
  }

  /** Writes what is to be heard of a block of samples. */
  process(input: Float32Array, output: Float32Array): void {
    const follow = 1 - Math.exp(-1 / (followS * this.rate));
    const opening = 1 - Math.exp(-1 / (openS * this.rate));
    const closing = 1 - Math.exp(-1 / (closeS * this.rate));
    for (let i = 0; i < output.length; i++) {
      const x = input[i] ?? 0;
      const y = this.b0 * (x - 2 * this.x1 + this.x2) - this.a1 * this.y1 - this.a2 * this.y2;
      this.x2 = this.x1;
      this.x1 = x;
      this.y2 = this.y1;
      this.y1 = y;
      this.power += follow * (y * y - this.power);
      if (this.settling > 0) this.settling--;
      else this.slot = Math.min(this.slot, this.power);
      if (--this.left <= 0) {
        this.left = slotS * this.rate;
        if (this.quiet.push(this.slot) > slots) this.quiet.shift();
        this.slot = Infinity;
      }
      // Before the first slot is over nothing is known of the room: everything passes.
      const room = this.quiet.length === 0 ? 0 : Math.min(...this.quiet);
      if (this.power > Math.max(room * overRoom, quietest)) this.hold = holdS * this.rate;
      else this.hold--;
      const open = this.hold > 0 || this.quiet.length === 0;
      this.gain += open ? opening * (1 - this.gain) : closing * (rest - this.gain);
      output[i] = y * this.gain;
    }
  }
}
