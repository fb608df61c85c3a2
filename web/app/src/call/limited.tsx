import { Icon } from '@trunkline/ui';
import { useT } from '../app.ts';
import type { CallView } from './view.ts';

const kept = { full: null, smaller: 'callKeptSmaller', slower: 'callKeptSlower', paused: 'callKeptPaused' } as const;

/** What of the own picture is given up, so that nobody wonders what the other side complains of. */
export function Limited(props: { call: CallView }) {
  const t = useT();
  const { adapted, brokenSince } = props.call;
  const key = adapted && (kept[adapted.camera] ?? kept[adapted.screen]);
  if (!adapted?.why || !key || brokenSince !== null) return null;
  return (
    <div class="call-problem" role="status" data-testid="limited">
      <Icon name={adapted.camera === 'paused' ? 'video-off' : 'video'} />
      <span class="grow">
        {t(adapted.why === 'cpu' ? 'callLimitedCpu' : 'callLimitedBandwidth')} {t(key)}
      </span>
    </div>
  );
}
