import { useT } from '../app.ts';
import { Sign, signKey } from './signs.tsx';
import type { CallView } from './view.ts';

/** What somebody showed a moment ago. */
export function Reactions(props: { call: CallView; from: 'me' | 'them' }) {
  const t = useT();
  return (
    <div class="reactions" role="status">
      {props.call.reactions
        .filter((r) => r.from === props.from)
        .map((r) => (
          <span key={r.id} class="reaction">
            <Sign what={r.what} />
            <span class="hidden-text">{t(signKey(r.what))}</span>
          </span>
        ))}
    </div>
  );
}
