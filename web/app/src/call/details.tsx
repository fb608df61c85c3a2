import { Dialog } from '@trunkline/ui';
import { useT, useView } from '../app.ts';
import type { Key } from '../i18n.ts';
import { routes } from './badge.tsx';
import { commands, keyText } from './keys.ts';
import { commandText } from './keytext.ts';
import type { CallView } from './view.ts';

export function Details(props: { call: CallView; onClose: () => void }) {
  const t = useT();
  const { route, quality, counts } = props.call;
  const opened = counts.filter((c) => c.way === 'open');
  const rows: [string, string][] = [];
  if (route) rows.push([t('callRoute'), `${t(routes[route.path].name)}. ${t(routes[route.path].why)}`]);
  if (route) rows.push([t('callRouteWhy'), t(whyRoute(props.call))]);
  rows.push([
    t('callEncryption'),
    t('callEncryptionText', { count: opened.reduce((n, c) => n + c.passed, 0), dropped: opened.reduce((n, c) => n + c.dropped, 0) }),
  ]);
  if (quality?.roundTripMs !== undefined) rows.push([t('callRoundTrip'), `${quality.roundTripMs} ms`]);
  if (quality?.loss !== undefined) rows.push([t('callLoss'), `${(quality.loss * 100).toFixed(1)} %`]);
  if (quality?.width) rows.push([t('callCodec'), `${quality.videoCodec ?? ''} ${quality.width} × ${quality.height}, ${Math.round(quality.framesPerSecond ?? 0)} fps`]);
  if (quality?.receivedKbps !== undefined) rows.push([t('callRate'), `${quality.receivedKbps} / ${quality.sentKbps ?? 0} kbit/s`]);
  return (
    <section class="call-details" aria-label={t('callDetails')}>
      <dl>
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <button type="button" class="button" onClick={props.onClose}>
        {t('close')}
      </button>
    </section>
  );
}

/** Why it is this route and no other, as far as this side knows. */
function whyRoute({ route, relayOnly }: CallView): Key {
  if (route?.path === 'lan' || route?.path === 'direct') return 'callWhyShortest';
  if (relayOnly) return 'callWhyOwnWish';
  // This end goes out by itself, so it is the other one that stands behind its relay.
  if (route?.local === 'lan' || route?.local === 'direct') return 'callWhyTheirs';
  return route?.path === 'relay/udp' ? 'callWhyNoDirect' : 'callWhyNoUdp';
}

export function KeySheet(props: { onClose: () => void }) {
  const t = useT();
  const keys = useView((s) => s.prefs.keys);
  return (
    <Dialog title={t('callKeys')} closeLabel={t('close')} onClose={props.onClose}>
      <dl class="call-keys">
        {commands.map((command) => (
          <div key={command}>
            <dt>
              <kbd>{keyText(t, keys[command])}</kbd>
            </dt>
            <dd>{commandText(t, command)}</dd>
          </div>
        ))}
      </dl>
      <p class="small muted">{t('callKeysWhere')}</p>
    </Dialog>
  );
}
