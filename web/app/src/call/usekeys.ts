import { useEffect, useRef } from 'preact/hooks';
import { useApp } from '../app.ts';
import { type Command, keyOf } from './keys.ts';
import { commandOf, typing } from './keyuse.ts';

/** Single keys, while nobody types and no dialog is open; one of them speaks while it is held. */
export function useKeys(own: { muted: boolean; mute: (on: boolean) => void }, run: (command: Command) => void): void {
  const app = useApp();
  const latest = useRef({ own, run });
  latest.current = { own, run };
  useEffect(() => {
    let held = '';
    const down = (e: KeyboardEvent) => {
      const { prefs } = app.store.state;
      if (!prefs.singleKeys || typing(e.target)) return;
      const command = commandOf(e, prefs.keys);
      if (!command || (command !== 'keys' && document.querySelector('dialog[open]'))) return;
      // Space presses the button that has the focus.
      if (e.key === ' ' && e.target instanceof HTMLButtonElement) return;
      e.preventDefault();
      if (command !== 'talk') return latest.current.run(command);
      if (e.repeat || !latest.current.own.muted) return;
      held = prefs.keys.talk;
      latest.current.own.mute(false);
    };
    const release = () => {
      if (!held) return;
      held = '';
      latest.current.own.mute(true);
    };
    const up = (e: KeyboardEvent) => {
      if (keyOf(e) === held) release();
    };
    addEventListener('keydown', down);
    addEventListener('keyup', up);
    addEventListener('blur', release);
    return () => {
      removeEventListener('keydown', down);
      removeEventListener('keyup', up);
      removeEventListener('blur', release);
    };
  }, []);
}
