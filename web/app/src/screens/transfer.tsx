import { Icon, MenuButton, once } from '@trunkline/ui';
import { linkTo, useApp, useT, useView } from '../app.ts';
import type { Chosen } from '../files/choose.ts';
import type { Key, Translator } from '../i18n.ts';
import { problemOf } from '../problems.ts';
import type { Transfer, TransferEnd } from '../state.ts';
import { FileInput } from './fileinput.tsx';
import { nameOf, Screen } from './parts.tsx';
import { problemKey } from './pieces.tsx';

const ends: Record<TransferEnd, Key> = {
  declined: 'fileDeclined',
  'no-answer': 'fileNoAnswer',
  busy: 'fileBusy',
  unreachable: 'fileUnreachable',
  changed: 'fileChanged',
  'their-change': 'fileTheirChange',
  corrupt: 'fileCorrupt',
  'too-large': 'fileTooLarge',
  disk: 'fileDisk',
  'their-disk': 'fileTheirDisk',
  stopped: 'fileStopped',
  'their-stop': 'fileTheirStop',
  other: 'problemOther',
};

const stateKeys = {
  room: 'fileRoom',
  queued: 'fileQueued',
  ringing: 'fileRinging',
  connecting: 'fileConnecting',
  hashing: 'fileHashing',
  waiting: 'fileWaiting',
  arrived: 'fileArrived',
  saving: 'fileSaving',
  lost: 'fileLost',
  delivered: 'fileDelivered',
} as const satisfies Partial<Record<Transfer['state']['is'], Key>>;

const chooseKeys = { tap: 'fileTap', again: 'fileAgain', moved: 'fileMoved', other: 'fileOther', anew: 'fileAnew' } as const satisfies Record<string, Key>;

/** Bytes in the unit that people read. */
export function bytesText(n: number, locale: string): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'] as const;
  let at = 0;
  let value = n;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at++;
  }
  return new Intl.NumberFormat(locale, { style: 'unit', unit: units[at] ?? 'byte', maximumFractionDigits: at === 0 || value >= 100 ? 0 : 1 }).format(value);
}

/** Seconds, minutes or hours, as far as anybody can know. */
function leftText(seconds: number, t: Translator): string {
  if (seconds < 90) return t('fileLeft', { count: Math.max(1, Math.ceil(seconds)) });
  if (seconds < 90 * 60) return t('fileLeftMinutes', { count: Math.round(seconds / 60) });
  return t('fileLeftHours', { count: Math.round(seconds / 3600) });
}

/** What a row says: sent is not delivered, and here is not saved. */
function words(f: Transfer, name: string, t: Translator): string {
  const size = (n: number) => bytesText(n, t.locale);
  const part = () => t('filePart', { done: size(f.done), size: size(f.size) });
  switch (f.state.is) {
    case 'asking':
      return t(f.name ? 'fileAsksThis' : 'fileAsks', { name });
    case 'moving': {
      const { rate } = f.state;
      if (rate === 0) return part();
      return `${t('fileMoving', { done: size(f.done), size: size(f.size), rate: size(rate) })}, ${leftText((f.size - f.done) / rate, t)}`;
    }
    case 'paused':
      return `${t(f.state.by === 'us' ? (f.state.ring ? 'filePausedReady' : 'filePaused') : 'filePausedThem', { name })} · ${part()}`;
    case 'interrupted':
      return `${t(f.out ? 'fileInterruptedOut' : 'fileInterruptedIn', { name })} · ${part()}`;
    case 'verifying':
      return t(f.out ? 'fileVerifying' : 'fileChecking', { name });
    case 'choose':
      return t(chooseKeys[f.state.why], { name: f.name });
    case 'saved':
      return t(f.state.how === 'place' ? 'fileSaved' : 'fileDownloaded');
    case 'failed':
      return t(ends[f.state.why], { name });
    default:
      return t(stateKeys[f.state.is], { name });
  }
}

/** One file in the conversation. */
export function FileBubble(props: { transfer: Transfer; name: string }) {
  const t = useT();
  const { transfer: f } = props;
  const time = new Date(f.created).toLocaleTimeString(t.locale, { hour: '2-digit', minute: '2-digit' });
  return (
    <div class={f.out ? 'bubble mine file' : 'bubble file'} tabIndex={-1} data-state={f.state.is}>
      <span class="hidden-text">{f.out ? t('you') : t('them')}: </span>
      <FileRow transfer={f} name={props.name} />
      <div class="meta small">
        <time dateTime={new Date(f.created).toISOString()}>{time}</time>
      </div>
    </div>
  );
}

function FileRow(props: { transfer: Transfer; name: string }) {
  const app = useApp();
  const t = useT();
  const { transfer: f } = props;
  const { is } = f.state;
  const failed = (error: unknown) => app.store.dispatch({ type: 'toast', text: t(problemKey(problemOf(error) ?? 'other')) });
  const act = once((what: 'save' | 'forget' | 'again' | 'place') => app.engine.rest.files[what](f.id), failed);
  const pause = once((on: boolean) => app.engine.rest.files.pause(f.id, on), failed);
  const chosen = (c: Promise<Chosen[]>) => void c.then(([one]) => one && app.engine.rest.files.chosen(f.id, one)).catch(failed);
  const over = is === 'arrived' || is === 'saved' || is === 'lost' || is === 'delivered' || is === 'failed';
  const moves = is === 'moving' || is === 'verifying' || is === 'waiting' || is === 'connecting' || is === 'ringing' || is === 'queued' || is === 'interrupted';
  const bar = is === 'hashing' ? f.state.done : is === 'moving' || is === 'paused' || is === 'saving' || (is === 'verifying' && !f.out) ? f.done : null;
  const done = is === 'saving' ? f.done : bar;
  // What moves is not read out: a screen reader would do nothing else.
  const quiet = is === 'moving' || is === 'hashing' || is === 'saving' || is === 'verifying';
  const menu = [];
  if (is === 'saved') menu.push({ label: t('fileSaveAgain'), icon: <Icon name="download" />, run: () => act('save') });
  if (over || is === 'choose' || is === 'interrupted' || is === 'paused') {
    const run = () => {
      document.querySelector<HTMLElement>('h1[tabindex]')?.focus(); // what has it will be gone
      act('forget');
    };
    menu.push({ label: t(is === 'arrived' || is === 'saved' ? 'fileRemove' : 'fileForget'), icon: <Icon name="close" />, run });
  }
  return (
    <>
      <div class="row">
        <Icon name={is === 'failed' || is === 'lost' || is === 'room' ? 'alert' : over ? 'check' : 'file'} />
        <div class="grow">
          {f.name && (
            <bdi class="cut strong" title={f.name}>
              {f.name}
            </bdi>
          )}
          <div class="small" role={quiet ? undefined : 'status'}>
            {f.size > 0 && is !== 'moving' && is !== 'paused' && is !== 'interrupted' && `${bytesText(f.size, t.locale)} · `}
            {words(f, props.name, t)}
          </div>
        </div>
        {menu.length > 0 && is !== 'paused' && is !== 'interrupted' && (
          <MenuButton label={t('moreAbout', { name: f.name })} items={menu}>
            <Icon name="more" />
          </MenuButton>
        )}
      </div>
      {done !== null && <progress max={Math.max(f.size, 1)} value={done} aria-label={f.name} />}
      {/* What was pressed may be gone a moment later: the focus stays with the file. */}
      <div class="row wrap file-actions" onClick={(e) => e.currentTarget.closest<HTMLElement>('.file')?.focus()}>
        {is === 'asking' && (
          <>
            <button type="button" class="button main" onClick={() => app.engine.rest.files.receive(f.id)}>
              {t('fileReceive')}
            </button>
            <button type="button" class="button" onClick={() => app.engine.rest.files.stop(f.id)}>
              {t('decline')}
            </button>
          </>
        )}
        {is === 'room' && (
          <>
            {('showSaveFilePicker' in globalThis || navigator.serviceWorker?.controller) && (
              <button type="button" class="button main" onClick={() => act('place')}>
                {t('showSaveFilePicker' in globalThis ? 'filePlace' : 'fileThrough')}
              </button>
            )}
            <button type="button" class="button" onClick={() => app.engine.rest.files.stop(f.id)}>
              {t('decline')}
            </button>
          </>
        )}
        {is === 'choose' && (
          <>
            {f.state.why === 'tap' ? (
              <button type="button" class="button main" onClick={() => act('again')}>
                {t('fileGoOn')}
              </button>
            ) : (
              <label class="button main attach">
                {t('fileChoose')}
                <FileInput multiple={false} onChosen={chosen} />
              </label>
            )}
          </>
        )}
        {is === 'arrived' && (
          <button type="button" class="button main" onClick={() => act('save')}>
            {t('save')}
          </button>
        )}
        {is === 'failed' && f.out && (
          <button type="button" class="button" onClick={() => act('again')}>
            {t('fileRetry')}
          </button>
        )}
        {is === 'paused' && f.state.by === 'us' && (
          <button type="button" class="button main" onClick={() => pause(false)}>
            {t('fileResume')}
          </button>
        )}
        {moves && (f.out || f.place !== '') && (
          <button type="button" class="button" onClick={() => pause(true)}>
            {t('filePause')}
          </button>
        )}
        {(moves || is === 'hashing' || is === 'paused' || is === 'choose') && (
          <button type="button" class="button" onClick={() => app.engine.rest.files.stop(f.id)}>
            {t('fileStop')}
          </button>
        )}
      </div>
    </>
  );
}

/** Every file, the newest first, whoever it comes from or goes to. */
export function TransfersScreen() {
  const app = useApp();
  const t = useT();
  const transfers = useView((s) => s.transfers);
  const contacts = useView((s) => s.contacts);
  const rows = [...transfers.values()].sort((a, b) => b.created - a.created);
  return (
    <Screen title={t('transfersTitle')}>
      {rows.length === 0 ? (
        <p class="muted padded">{t('transfersNone')}</p>
      ) : (
        <ul class="transfers">
          {rows.map((f) => {
            const contact = contacts.get(f.contact);
            const name = contact ? nameOf(contact) : t('them');
            return (
              <li key={f.id} class="card file" tabIndex={-1} data-state={f.state.is}>
                <a class="small transfer-who" {...linkTo(app, { screen: 'contact', id: f.contact, tab: 'chat' })}>
                  {t(f.out ? 'transferTo' : 'transferFrom', { name })}
                </a>
                <FileRow transfer={f} name={name} />
              </li>
            );
          })}
        </ul>
      )}
    </Screen>
  );
}
