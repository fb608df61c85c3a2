import { Switch } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { type Command, commands, defaultKeys, keyOf, keyText } from '../call/keys.ts';
import { rebind } from '../call/rebind.ts';
import { commandText } from '../call/keytext.ts';

/** Which single keys do something in a call. */
export function KeySettings() {
  const app = useApp();
  const t = useT();
  const prefs = useView((s) => s.prefs);
  const [asking, setAsking] = useState<Command | null>(null);
  const [problem, setProblem] = useState('');
  const press = (e: KeyboardEvent, command: Command) => {
    // Tab and Escape leave, as everywhere.
    if (e.key === 'Tab' || e.key === 'Escape') return setAsking(null);
    const key = keyOf(e);
    if (key === null) return;
    e.preventDefault();
    const result = rebind(prefs.keys, command, key);
    if ('taken' in result) return setProblem(t('keyTaken', { key: keyText(t, key), what: commandText(t, result.taken) }));
    app.engine.setPrefs({ ...prefs, keys: result.keys });
    setProblem('');
    setAsking(null);
  };
  return (
    <section class="card">
      <h2>{t('keysTitle')}</h2>
      <Switch label={t('keysOn')} hint={t('keysOnHint')} on={prefs.singleKeys} onChange={(singleKeys) => app.engine.setPrefs({ ...prefs, singleKeys })} />
      {prefs.singleKeys && (
        <>
          <ul class="plain-list key-list">
            {commands.map((command) => (
              <li key={command} class="row">
                <span class="grow">{commandText(t, command)}</span>
                <button
                  type="button"
                  class="button key"
                  aria-label={t('keyChange', { what: commandText(t, command), key: keyText(t, prefs.keys[command]) })}
                  aria-pressed={asking === command}
                  onClick={() => {
                    setProblem('');
                    setAsking(asking === command ? null : command);
                  }}
                  onKeyDown={(e) => asking === command && press(e, command)}
                  onKeyUp={(e) => asking === command && e.key === ' ' && e.preventDefault()}
                  onBlur={() => setAsking((now) => (now === command ? null : now))}
                >
                  {asking === command ? t('keyPress') : keyText(t, prefs.keys[command])}
                </button>
              </li>
            ))}
          </ul>
          <p class="problem" role="alert">
            {problem}
          </p>
          <div>
            <button
              type="button"
              class="button"
              onClick={() => {
                setProblem('');
                app.engine.setPrefs({ ...prefs, keys: defaultKeys });
              }}
            >
              {t('keysReset')}
            </button>
          </div>
        </>
      )}
    </section>
  );
}
