import { type Command, commands, type Keys } from './keys.ts';

/** Gives a key to a command, or names the command that has it. */
export function rebind(keys: Keys, command: Command, key: string): { keys: Keys } | { taken: Command } {
  const taken = commands.find((c) => c !== command && keys[c] === key);
  return taken ? { taken } : { keys: { ...keys, [command]: key } };
}
