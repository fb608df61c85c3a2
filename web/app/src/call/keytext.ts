import type { Key, Translator } from '../i18n.ts';
import type { Command } from './keys.ts';

const commandKeys: Record<Command, Key> = {
  microphone: 'callMicrophone',
  camera: 'callCamera',
  screen: 'callScreenOn',
  hand: 'callHandUp',
  chat: 'callChat',
  talk: 'callKeyHoldText',
  keys: 'callKeys',
};

export function commandText(t: Translator, command: Command): string {
  return t(commandKeys[command]);
}
