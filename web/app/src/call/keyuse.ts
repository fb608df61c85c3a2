import { type Command, commands, keyOf, type Keys, type Pressed } from './keys.ts';

export function commandOf(e: Pressed & Pick<KeyboardEvent, 'repeat'>, keys: Keys): Command | null {
  const key = keyOf(e);
  if (key === null) return null;
  const command = commands.find((c) => keys[c] === key) ?? null;
  // A key that is held says once what it wants; to talk it is held on purpose.
  return e.repeat && command !== 'talk' ? null : command;
}

/** Whether keys belong to what has the focus: somebody types there. */
export function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches('input, textarea, select, [role="combobox"], [role="listbox"], [role="menuitem"]'));
}
