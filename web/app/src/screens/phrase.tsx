import { Icon, once } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { Notice, Screen } from './parts.tsx';

/** The phrase: hidden until it is asked for, and believed to be written down when three of its
 * words were typed from the paper. */
export function PhraseScreen() {
  const app = useApp();
  const t = useT();
  const phrase = useView((s) => s.phrase);
  const backedUp = useView((s) => s.prefs.backedUp);
  const show = once(
    () => app.engine.rest.phrase.reveal(),
    () => app.store.dispatch({ type: 'toast', text: t('problemOther') }),
  );
  return (
    // Each step begins at the heading: the button that led to it is gone.
    <Screen key={phrase.is} title={t('phraseTitle')} narrow>
      {phrase.is === 'hidden' && (
        <section class="card">
          <p>{t('phraseText')}</p>
          <Notice kind="warn">{t('phraseWarn')}</Notice>
          {backedUp && (
            <p class="row">
              <Icon name="check" />
              {t('phraseDone')}
            </p>
          )}
          <div>
            <button type="button" class="button main" onClick={show}>
              <Icon name="eye" />
              {t('phraseShow')}
            </button>
          </div>
        </section>
      )}
      {phrase.is === 'absent' && (
        <section class="card">
          <p>{t('phraseAbsent')}</p>
        </section>
      )}
      {phrase.is === 'shown' && (
        <section class="card">
          <p>{t('phraseWrite')}</p>
          <ol class="words">
            {phrase.words.map((word, i) => (
              <li key={`${i}-${word}`}>{word}</li>
            ))}
          </ol>
          <div class="row wrap">
            <button type="button" class="button main" onClick={() => app.engine.rest.phrase.askForWords()}>
              {t('phraseWritten')}
            </button>
            <button type="button" class="button" onClick={() => app.store.dispatch({ type: 'phrase', phrase: { is: 'hidden' } })}>
              {t('hide')}
            </button>
          </div>
        </section>
      )}
      {phrase.is === 'confirming' && <Confirm asked={phrase.asked} wrong={phrase.wrong} />}
      {phrase.is === 'confirmed' && (
        <section class="card">
          <p class="row strong">
            <Icon name="check" />
            {t('phraseConfirmed')}
          </p>
          <p class="muted">{t('phraseConfirmedText')}</p>
        </section>
      )}
    </Screen>
  );
}

function Confirm(props: { asked: number[]; wrong: boolean }) {
  const app = useApp();
  const t = useT();
  const [words, setWords] = useState<Record<number, string>>({});
  return (
    <form
      class="card"
      onSubmit={(e) => {
        e.preventDefault();
        app.engine.rest.phrase.confirmWords(props.asked.map((i) => words[i] ?? ''));
      }}
    >
      <p>{t('phraseConfirm')}</p>
      {props.asked.map((i) => (
        <div class="field" key={i}>
          <label for={`word-${i}`}>{t('phraseWord', { number: i + 1 })}</label>
          <input
            id={`word-${i}`}
            class="input"
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            value={words[i] ?? ''}
            onInput={(e) => setWords({ ...words, [i]: e.currentTarget.value })}
          />
        </div>
      ))}
      {props.wrong && (
        <p class="problem" role="alert">
          {t('phraseWrong')}
        </p>
      )}
      <div class="row wrap">
        <button type="submit" class="button main">
          {t('phraseCheck')}
        </button>
        <button type="button" class="button" onClick={() => app.engine.rest.phrase.lookAgain()}>
          {t('phraseLookAgain')}
        </button>
      </div>
    </form>
  );
}
