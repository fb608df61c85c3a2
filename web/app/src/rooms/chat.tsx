import type { RoomState } from '@trunkline/sdk/room';
import { Icon } from '@trunkline/ui';
import { useEffect, useRef, useState } from 'preact/hooks';
import { useT } from '../app.ts';
import type { RoomControl } from './control.ts';
import { useRoomT } from './text.ts';

/** What is written in the meeting. It is nowhere but on the screens of those who are in. */
export function ChatPanel(props: { room: RoomState; control: RoomControl }) {
  const { room, control } = props;
  const t = useT();
  const r = useRoomT();
  const [text, setText] = useState('');
  const [problem, setProblem] = useState(false);
  const list = useRef<HTMLDivElement>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const { current } = list;
    if (current) current.scrollTop = current.scrollHeight;
  }, [room.chat.length]);
  useEffect(() => field.current?.focus(), []);
  const send = () => {
    const line = text.trim();
    if (!line) return;
    const failed = control.chat(line);
    setProblem(failed !== null);
    if (!failed) setText('');
  };
  const time = new Intl.DateTimeFormat(t.locale, { timeStyle: 'short' });
  return (
    <div class="room-panel-body room-chat">
      <div ref={list} class="room-lines" role="log" aria-label={t('callChat')} tabIndex={0}>
        {room.chat.length === 0 && <p class="muted small">{r('roomChatNone')}</p>}
        {room.chat.map((line) => (
          <div key={line.id} class={line.mine ? 'line mine' : 'line'}>
            <span class="small muted">
              <bdi>{line.mine ? t('callYou') : line.name}</bdi> <time>{time.format(line.atMs)}</time>
            </span>
            <p>
              <bdi>{line.text}</bdi>
            </p>
          </div>
        ))}
      </div>
      <form
        class="room-write"
        onSubmit={(e) => {
          e.preventDefault();
          send();
        }}
      >
        <textarea
          ref={field}
          class="input"
          rows={2}
          maxLength={4096}
          aria-label={r('roomChatWrite')}
          placeholder={r('roomChatWrite')}
          aria-invalid={problem ? 'true' : undefined}
          value={text}
          onInput={(e) => setText(e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
            e.preventDefault();
            send();
          }}
        />
        <button type="submit" class="button main only-icon" aria-label={t('send')} disabled={text.trim() === ''}>
          <Icon name="send" />
        </button>
        {problem && (
          <p class="problem" role="alert">
            {t('problemTooLong')}
          </p>
        )}
      </form>
    </div>
  );
}
