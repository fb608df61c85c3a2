import { Field, Icon } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT } from '../app.ts';
import { isInvite, joinRoute } from '../links.ts';
import { Screen } from './parts.tsx';
import { Scanner } from './pieces.tsx';

/** A link, an address or a code that somebody got in another way. */
export function Join() {
  const app = useApp();
  const t = useT();
  const [text, setText] = useState('');
  const [problem, setProblem] = useState<string>();
  const [scanning, setScanning] = useState(false);
  const follow = (found: string): boolean => {
    const route = joinRoute(found, location.origin);
    if (isInvite(found)) setProblem(t('problemInviteHere'));
    else if (route.screen === 'call' && !/^tl1[0-9a-z]{40,}/i.test(route.address)) setProblem(t('problemAddress'));
    else {
      app.go(route);
      return true;
    }
    return false;
  };
  return (
    <Screen title={t('joinTitle')} narrow>
      <form
        class="card"
        onSubmit={(e) => {
          e.preventDefault();
          follow(text);
        }}
      >
        <p class="muted">{t('joinText')}</p>
        <Field label={t('joinLabel')} value={text} onInput={setText} problem={problem} attributes={{ autocomplete: 'off', spellcheck: false, autocapitalize: 'none', maxLength: 2500 }} />
        {scanning && <Scanner onText={follow} onClose={() => setScanning(false)} />}
        <div class="row wrap">
          <button type="submit" class="button main" disabled={text.trim() === ''}>
            <Icon name="video" />
            {t('joinDo')}
          </button>
          {!scanning && (
            <button type="button" class="button" onClick={() => setScanning(true)}>
              <Icon name="scan" />
              {t('scan')}
            </button>
          )}
        </div>
      </form>
    </Screen>
  );
}
