import { Icon } from '@trunkline/ui';
import { useEffect, useReducer, useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import type { Key } from '../i18n.ts';
import { dump, type Field, read, type TapFrame } from '../wiretap.ts';
import { nameOf, Notice, Screen } from './parts.tsx';

/** Bytes of a frame that are shown before the rest is asked for. */
const shownBytes = 512;

const readers: Record<Field['reader'], Key> = { node: 'readerNode', 'other-node': 'readerOther', devices: 'readerDevices' };

type Row = { is: 'frame'; at: number; frame: TapFrame } | { is: 'note'; at: number; id: string; out: boolean; who: string; text: string };

/** What goes over the link, as the node gets it, beside what only the two ends see. */
export function NodeView() {
  const app = useApp();
  const t = useT();
  const [, again] = useReducer<number, void>((n) => n + 1, 0);
  const [chosen, setChosen] = useState(0);
  const [whole, setWhole] = useState(0);
  const chats = useView((s) => s.chats);
  const contacts = useView((s) => s.contacts);
  const tap = app.engine.tap;
  useEffect(() => tap.subscribe(() => again()), [tap]);

  const frames = tap.frames.map(read);
  const began = frames[0]?.at ?? Date.now();
  const rows: Row[] = frames.map((frame) => ({ is: 'frame', at: frame.at, frame }));
  for (const [id, chat] of chats) {
    const contact = contacts.get(id);
    for (const note of chat.notes) {
      if (contact && note.created >= began) rows.push({ is: 'note', at: note.created, id: note.id, out: note.out, who: nameOf(contact), text: note.text });
    }
  }
  // Of the same millisecond, too, the newest stands first.
  rows.reverse().sort((a, b) => b.at - a.at);
  const time = (at: number) => new Date(at).toLocaleTimeString(t.locale, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const frame = frames.find((f) => f.number === chosen);
  return (
    <Screen title={t('nodeTitle')}>
      <div class="nodeview">
        <p class="muted">{t('nodeText')}</p>
        <div class="two">
          <section class="card" aria-labelledby="tap-list">
            <h2 id="tap-list">{t('nodeFrames')}</h2>
            <ol class="frames" tabIndex={0} aria-labelledby="tap-list">
              {rows.map((row) =>
                row.is === 'frame' ? (
                  <li key={`f${row.frame.number}`}>
                    <button type="button" class="item" aria-pressed={row.frame.number === chosen} onClick={() => setChosen(row.frame.number)}>
                      <span class="arrow" aria-hidden="true">
                        {row.frame.out ? '↑' : '↓'}
                      </span>
                      <span class="hidden-text">{t(row.frame.out ? 'nodeOut' : 'nodeIn')}</span>
                      <code class="grow">{row.frame.kind}</code>
                      <span class="small muted">{t('bytes', { count: row.frame.bytes.length })}</span>
                      <span class="small muted">{time(row.at)}</span>
                    </button>
                  </li>
                ) : (
                  <li key={`n${row.id}`} class="ends">
                    <Icon name="lock" />
                    <span class="grow">
                      <span class="small">{t(row.out ? 'nodeYouWrote' : 'nodeTheyWrote', { name: row.who })}</span>
                      <bdi class="cut strong">{row.text}</bdi>
                    </span>
                    <span class="small">{time(row.at)}</span>
                  </li>
                ),
              )}
            </ol>
            {rows.length === 0 && <p class="muted">{t('nodeNothing')}</p>}
          </section>
          <section class="card" aria-labelledby="tap-one" aria-live="polite">
            <h2 id="tap-one">{frame ? t('nodeOne', { kind: frame.kind }) : t('nodeChoose')}</h2>
            {frame && (
              <>
                <table class="fields">
                  <thead>
                    <tr>
                      <th scope="col">{t('nodeField')}</th>
                      <th scope="col">{t('nodeValue')}</th>
                      <th scope="col">{t('nodeReader')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {frame.fields.map((field) => (
                      <tr key={field.name} class={field.reader}>
                        <th scope="row">
                          <code>{field.name}</code>
                        </th>
                        <td>
                          <code>{field.value}</code>
                        </td>
                        <td class="small">{t(readers[field.reader])}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
                <pre class="dump" tabIndex={0} aria-label={t('nodeBytes')}>
                  {dump(frame.bytes, whole === frame.number ? frame.bytes.length : shownBytes)}
                </pre>
                {frame.bytes.length > shownBytes && whole !== frame.number && (
                  <div>
                    <button type="button" class="button" onClick={() => setWhole(frame.number)}>
                      {t('nodeRest', { count: frame.bytes.length - shownBytes })}
                    </button>
                  </div>
                )}
              </>
            )}
            {!frame && <Notice icon="eye">{t('nodeHint')}</Notice>}
          </section>
        </div>
      </div>
    </Screen>
  );
}
