// The program is built once for all journeys.
import { rmSync } from 'node:fs';
import path from 'node:path';
import { World } from '../../scripts/harness.mjs';

export default function setup() {
  const { dir, binary } = new World().build();
  process.env.TRUNKLINE_BINARY = path.resolve(binary);
  return () => rmSync(dir, { recursive: true, force: true });
}
