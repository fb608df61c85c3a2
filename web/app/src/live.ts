import { Base } from './base.ts';
import type { Engine } from './engine.ts';

export class Live extends Base {
  start(): void {}
  routed(): void {}
}
export interface Live extends Engine {}
