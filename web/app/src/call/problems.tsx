import { Icon } from '@trunkline/ui';
import { useT } from '../app.ts';
import { deviceProblemKey, WhereToClick } from '../screens/deviceproblem.tsx';
import type { CallView, Own } from './view.ts';

/** What is wrong with a device, and the next step. */
export function Problems(props: { problems: CallView['problems']; onRetry: (what: Own) => void }) {
  const t = useT();
  return (
    <>
      {(['microphone', 'camera'] as Own[]).map((what) => {
        const problem = props.problems[what];
        if (!problem) return null;
        return (
          <div key={what} class="call-problem" role="alert">
            <Icon name={what === 'microphone' ? 'mic-off' : 'video-off'} />
            <div class="grow stack tight">
              <span>{t(deviceProblemKey(problem), { device: t(what === 'microphone' ? 'callMicrophone' : 'callCamera') })}</span>
              <WhereToClick problem={problem} />
              <div>
                <button type="button" class="button" onClick={() => props.onRetry(what)}>
                  {t('retry')}
                </button>
              </div>
            </div>
          </div>
        );
      })}
    </>
  );
}
