import { Field, Icon } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useT } from '../app.ts';
import { atNode } from '../links.ts';
import { Copy } from '../screens/pieces.tsx';
import { useRoomT } from './text.ts';

/** The way into a meeting that takes no guests: an identity lies with the pages of its own node, and its app has to open the link. */
export function OwnNode(props: { link: string }) {
  const t = useT();
  const r = useRoomT();
  const [node, setNode] = useState('');
  const there = atNode(node, props.link);
  return (
    <>
      <div class="room-name">
        <Field label={r('roomOwnNode')} hint={r('roomOwnNodeHint')} value={node} onInput={setNode} attributes={{ autocomplete: 'off', autocapitalize: 'none', spellcheck: false, inputMode: 'url', maxLength: 320 }} />
      </div>
      <div class="call-actions">
        <Copy text={props.link} label={t('copyLink')} />
        {there && (
          <a class="button main" href={there} rel="noreferrer">
            <Icon name="video" />
            {r('roomOpenThere')}
          </a>
        )}
      </div>
    </>
  );
}
