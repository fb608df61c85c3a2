import { Field, Listbox, Switch } from '@trunkline/ui';
import { useEffect, useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { type Language, languages, type Theme, themes } from '../prefs.ts';
import type { Identity } from '../state.ts';
import { Identities } from './identities.tsx';
import { KeySettings } from './keysettings.tsx';
import { Screen } from './parts.tsx';

export function Settings() {
  const app = useApp();
  const t = useT();
  const prefs = useView((s) => s.prefs);
  const [others, setOthers] = useState<Identity[]>([]);
  useEffect(() => {
    void app.engine.rest.tabs.others().then(setOthers);
  }, []);
  const languageNames: Record<Language, string> = { en: 'English', de: 'Deutsch', qps: t('pseudo') };
  const themeNames: Record<Theme, string> = { system: t('themeSystem'), light: t('themeLight'), dark: t('themeDark') };
  return (
    <Screen title={t('settings')} narrow>
      <section class="card">
        <h2>{t('you')}</h2>
        <Field
          label={t('yourName')}
          hint={t('yourNameHint')}
          value={prefs.name}
          onInput={(name) => app.engine.setPrefs({ ...prefs, name: name.slice(0, 64) })}
          attributes={{ maxLength: 64, autocomplete: 'nickname' }}
        />
      </section>
      <section class="card">
        <h2>{t('privacy')}</h2>
        <Switch label={t('hideAddress')} hint={t('hideAddressHint')} on={prefs.hideAddress} onChange={(hideAddress) => app.engine.setPrefs({ ...prefs, hideAddress })} />
      </section>
      <KeySettings />
      <section class="card">
        <h2>{t('sound')}</h2>
        <Switch label={t('noiseGate')} hint={t('noiseGateHint')} on={prefs.noiseGate} onChange={(noiseGate) => app.engine.setPrefs({ ...prefs, noiseGate })} />
      </section>
      <section class="card">
        <h2>{t('look')}</h2>
        <Listbox
          label={t('language')}
          value={prefs.language}
          options={languages.map((value) => ({ value, label: languageNames[value] }))}
          onChange={(value) => app.engine.setPrefs({ ...prefs, language: value as Language })}
        />
        <Listbox
          label={t('theme')}
          value={prefs.theme}
          options={themes.map((value) => ({ value, label: themeNames[value] }))}
          onChange={(value) => app.engine.setPrefs({ ...prefs, theme: value as Theme })}
        />
      </section>
      <section class="card">
        <h2>{t('identities')}</h2>
        <p class="muted">{t('identitiesText')}</p>
        <Identities others={others} />
      </section>
    </Screen>
  );
}
