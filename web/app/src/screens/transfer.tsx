import { Icon, MenuButton, once } from '@trunkline/ui';
import { useApp, useT } from '../app.ts';
import type { Key } from '../i18n.ts';
import type { Transfer, TransferEnd } from '../state.ts';

const ends: Record<TransferEnd, Key> = {
  declined: 'fileDeclined',
  'no-answer': 'fileNoAnswer',
  busy: 'fileBusy',
  unreachable: 'fileUnreachable',
  changed: 'fileChanged',
  corrupt: 'fileCorrupt',
  disk: 'fileDisk',
  stopped: 'fileStopped',
  other: 'problemOther',
};

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

/** One file, in words that are true: sent is not delivered, and delivered is not saved. */
export function FileBubble(props: { transfer: Transfer; name: string }) {
  const app = useApp();
  const t = useT();
  const { transfer: f } = props;
  const failed = () => app.store.dispatch({ type: 'toast', text: t('problemOther') });
  const save = once(() => app.engine.save(f.id), failed);
  const forget = once(() => app.engine.forget(f.id), failed);
  const size = (n: number) => bytesText(n, t.locale);
  const done = f.state.is === 'moving' ? f.state.done : f.state.is === 'hashing' ? f.state.done : null;
  const over = ['arrived', 'delivered', 'failed'].includes(f.state.is) || (f.state.is === 'interrupted' && !f.out);
  let text: string;
  switch (f.state.is) {
    case 'asking':
      text = t('fileAsks', { name: props.name });
      break;
    case 'moving': {
      const left = f.state.rate > 0 ? Math.ceil((f.size - f.state.done) / f.state.rate) : null;
      text = `${t('fileMoving', { done: size(f.state.done), size: size(f.size), rate: size(f.state.rate) })}${left === null ? '' : `, ${t('fileLeft', { count: left })}`}`;
      break;
    }
    case 'failed':
      text = t(ends[f.state.why], { name: props.name });
      break;
    default:
      text = t(stateKeys[f.state.is], { name: props.name });
  }
  const time = new Date(f.created).toLocaleTimeString(t.locale, { hour: '2-digit', minute: '2-digit' });
  return (
    <div class={f.out ? 'bubble mine file' : 'bubble file'} data-state={f.state.is}>
      <span class="hidden-text">{f.out ? t('you') : t('them')}: </span>
      <div class="row">
        <Icon name={f.state.is === 'failed' ? 'alert' : 'file'} />
        <div class="grow">
          {f.name && (
            <bdi class="cut strong" title={f.name}>
              {f.name}
            </bdi>
          )}
          <div class="small" role={done === null ? 'status' : undefined}>
            {f.size > 0 && f.state.is !== 'moving' && `${size(f.size)} · `}
            {text}
          </div>
        </div>
        {over && (
          <MenuButton label={t('fileMore', { name: f.name })} items={[{ label: t(f.state.is === 'arrived' ? 'fileRemove' : 'fileForget'), icon: <Icon name="close" />, run: forget }]}>
            <Icon name="more" />
          </MenuButton>
        )}
      </div>
      {done !== null && <progress max={Math.max(f.size, 1)} value={done} aria-label={f.name} />}
      {f.state.is === 'asking' && (
        <div class="row wrap">
          <button type="button" class="button main" onClick={() => app.engine.receive(f.id)}>
            {t('fileReceive')}
          </button>
          <button type="button" class="button" onClick={() => app.engine.stop(f.id)}>
            {t('decline')}
          </button>
        </div>
      )}
      {f.state.is === 'arrived' && (
        <div>
          <button type="button" class="button main" onClick={save}>
            {t('save')}
          </button>
        </div>
      )}
      {!over && f.state.is !== 'asking' && (
        <div>
          <button type="button" class="button" onClick={() => app.engine.stop(f.id)}>
            {t('fileStop')}
          </button>
        </div>
      )}
      <div class="meta small">
        <time dateTime={new Date(f.created).toISOString()}>{time}</time>
      </div>
    </div>
  );
}

const stateKeys = {
  ringing: 'fileRinging',
  connecting: 'fileConnecting',
  hashing: 'fileHashing',
  waiting: 'fileWaiting',
  verifying: 'fileVerifying',
  interrupted: 'fileInterrupted',
  arrived: 'fileArrived',
  delivered: 'fileDelivered',
} as const satisfies Record<string, Key>;
