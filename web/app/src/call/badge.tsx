import type { call as sdk } from '@trunkline/sdk';
import { Icon } from '@trunkline/ui';
import { useT } from '../app.ts';
import type { Key } from '../i18n.ts';
import type { CallView } from './view.ts';

export const routes: Record<sdk.Leg, { name: Key; why: Key }> = {
  lan: { name: 'callRouteLan', why: 'callRouteLanText' },
  direct: { name: 'callRouteDirect', why: 'callRouteDirectText' },
  'relay/udp': { name: 'callRouteRelayUdp', why: 'callRouteRelayText' },
  'relay/tcp': { name: 'callRouteRelayTcp', why: 'callRouteRelayText' },
  'relay/tls': { name: 'callRouteRelayTls', why: 'callRouteRelayText' },
};

/** How the call travels, in words. A press says more. */
export function RouteBadge(props: { call: CallView; open: boolean; onOpen: () => void }) {
  const t = useT();
  const { route } = props.call;
  if (!route) return null;
  return (
    <button type="button" class="route-badge" aria-expanded={props.open} data-testid="route" onClick={props.onOpen}>
      <Icon name="lock" />
      {t(routes[route.path].name)}
    </button>
  );
}
